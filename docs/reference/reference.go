// Package reference holds the reference pages that programs serve themselves. They are made from the code: see the tests that hold each to it.
package reference

import _ "embed" // for OpenAPI

// OpenAPI is openapi.json: the native and administrative API as an OpenAPI 3.1 document.
//
//go:embed openapi.json
var OpenAPI []byte
