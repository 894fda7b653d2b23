// Package initdata reads init-data documents: what configures a Confidential Containers guest at launch, and whose digest the
// hardware carries.
//
// A document is TOML with exactly these members:
//
//	algorithm = "sha384"   # or "sha256" or "sha512"
//	version = "0.1.0"
//
//	[data]
//	"aa.toml" = '''…'''    # file names and contents, all strings
//
// The digest is over the bytes of the document as it was presented, so nothing is normalised: a document that reads the same but
// is written otherwise is another one. What the files in it mean is not looked at.
//
// Limits: [MaxDocument] bytes, [MaxFiles] files, names of [MaxName] bytes. Members that are not known, at the top or with values that are not strings,
// and names that are there twice are refused: a member that the guest honours and the broker does not see would be a way around policies.
package initdata

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Limits of a document.
const (
	// MaxDocument is its size in bytes. Kata agents' policies, the largest of the files, reach some tens of KiB; a
	// document of this size that is made to be slow (one key of a hundred thousand parts) takes a tenth of a second to read.
	MaxDocument = 256 << 10
	// MaxFiles is how many entries [data] may have. Guests know three.
	MaxFiles = 64
	// MaxName is the length of a name in [data], in bytes.
	MaxName = 255
)

// version is the only version there is.
const version = "0.1.0"

// Parse reads a document and computes its digest by its own algorithm. It refuses with CodeInitData, which says that
// there is no judging the document, and nothing about the hardware.
func Parse(body []byte) (*attest.InitData, error) {
	refuse := func(format string, args ...any) (*attest.InitData, error) {
		return nil, attest.Refuse(attest.CodeInitData, "init-data: "+format, args...)
	}
	if len(body) > MaxDocument {
		return refuse("%d bytes: at most %d are read", len(body), MaxDocument)
	}
	if !utf8.Valid(body) {
		return refuse("not UTF-8")
	}
	doc, err := decode(body)
	if err != nil {
		return refuse("%w", err)
	}
	for name := range doc {
		if name != "algorithm" && name != "version" && name != "data" {
			return refuse("the member %.60q is not known", name)
		}
	}
	if doc["version"] != version {
		return refuse("version is not %q", version)
	}
	files, ok := doc["data"].(map[string]any)
	if !ok {
		return refuse("no table [data]")
	}
	init := &attest.InitData{Data: make(map[string]string, len(files))}
	init.Algorithm, _ = doc["algorithm"].(string)
	switch init.Algorithm {
	case "sha256":
		digest := sha256.Sum256(body)
		init.Digest = digest[:]
	case "sha384":
		digest := sha512.Sum384(body)
		init.Digest = digest[:]
	case "sha512":
		digest := sha512.Sum512(body)
		init.Digest = digest[:]
	default:
		return refuse("algorithm is not sha256, sha384 or sha512")
	}
	if len(files) > MaxFiles {
		return refuse("%d files: at most %d are read", len(files), MaxFiles)
	}
	for name, value := range files {
		text, ok := value.(string)
		if !ok {
			return refuse("the value of %.60q in [data] is not a string", name)
		}
		if name == "" || len(name) > MaxName {
			return refuse("a name in [data] of %d bytes, not 1 to %d", len(name), MaxName)
		}
		init.Data[name] = text
	}
	return init, nil
}

// decode reads the TOML, into a map since the decoder matches the names of a structure in any case. A panic of the decoder is
// an error like any other: the document comes from strangers.
func decode(body []byte) (doc map[string]any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the TOML decoder failed: %v", p)
		}
	}()
	return doc, toml.Unmarshal(body, &doc)
}
