// Package wire is the administrative API as a table: one [Endpoint] for each operation, with its method, path, roles, and the types of what is
// sent and answered. The broker's front end binds handlers to the endpoints, the client calls them, and the OpenAPI document is made from
// them, so none of the three can drift from the others.
//
// # Requests
//
// The fields of an endpoint's input are sent in three places, by their tags: "path" in a segment of the path, or in the rest of it
// where the pattern says {name...}; "query" in the query string, left out when zero; "json" in a JSON body. [Decode] is strict: a query
// parameter or member that is not known, or is there twice, is refused. Bytes are standard base64, times RFC 3339.
//
// # Answers
//
// An answer is JSON, unless the endpoint names another media type. Every error is an [Error]. Fields may be added to answers; clients
// pass over those that they do not know.
//
// # Listings
//
// A listing is a [List]: a page, and in Next what to give as "after" for the next one, "" at the end.
package wire
