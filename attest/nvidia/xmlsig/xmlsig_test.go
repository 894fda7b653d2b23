package xmlsig_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/xmlsig"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

const end = "</SoftwareIdentity>"

// signed returns a signed document, what is signed, and who decides on its certificates.
func signed(t testing.TB) (document, content string, trust func([][]byte) (*ecdsa.PublicKey, error)) {
	t.Helper()
	w := nvidiatest.NewWorld(t)
	body := nvidiatest.Body("GH100", "1", nvidiatest.Resource(nvidiatest.Golden{Block: 1, Values: [][]byte{make([]byte, 48)}}))
	return string(w.SignManifest(body, end)), body + end, func(certs [][]byte) (*ecdsa.PublicKey, error) {
		if len(certs) != 3 || !bytes.Equal(certs[0], w.ManifestSigner.Certificate.Raw) {
			return nil, errUnknown
		}
		return &w.ManifestSigner.Key.PublicKey, nil
	}
}

var errUnknown = errors.New("an unknown signer")

func TestOpenReturnsWhatWasSigned(t *testing.T) {
	document, content, trust := signed(t)
	got, err := xmlsig.Open([]byte(document), trust)
	if err != nil || string(got) != content {
		t.Fatalf("%v\n%s\nwhat was signed:\n%s", err, got, content)
	}
}

// TestOtherWritingsOfTheSame: canonical form makes one of them, so the signature holds for all.
func TestOtherWritingsOfTheSame(t *testing.T) {
	document, content, trust := signed(t)
	for name, change := range map[string][2]string{
		"an empty element":         {"></ns0:Resource>", "/>"},
		"attributes in order":      {` name="GH100" tagId="tag-1"`, ` tagId="tag-1" name="GH100"`},
		"namespaces in order":      {` xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384" name="GH100"`, ` name="GH100" xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"`},
		"a namespace twice":        {"<ns0:Payload>", `<ns0:Payload xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384">`},
		"single quotes":            {`tagId="tag-1"`, `tagId='tag-1'`},
		"space in a tag":           {`tagId="tag-1"`, "\n  tagId=\"tag-1\"\t"},
		"an XML declaration":       {"<SoftwareIdentity", `<?xml version="1.0" encoding="UTF-8"?>` + "\n<SoftwareIdentity"},
		"space after the document": {end, end + "\n"},
		"base64 in lines":          {"<ds:SignatureValue>", "<ds:SignatureValue>\n"},
		"white space in KeyInfo":   {"<ds:KeyInfo>", "<ds:KeyInfo>\n  "},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(document, change[0], change[1], 1)
			if changed == document {
				t.Fatal("nothing was changed")
			}
			got, err := xmlsig.Open([]byte(changed), trust)
			if err != nil || string(got) != content {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

func TestAttacks(t *testing.T) {
	document, _, trust := signed(t)
	signature := document[strings.Index(document, "<ds:Signature "):strings.Index(document, end)]
	other := strings.Replace(strings.TrimSuffix(strings.Replace(document, signature, "", 1), end), `"True"`, `"False"`, 1)
	for name, text := range map[string]string{
		"no signature":                           strings.Replace(document, signature, "", 1),
		"the signature twice":                    strings.Replace(document, signature, signature+signature, 1),
		"the signature in a child":               strings.Replace(strings.Replace(document, signature, "", 1), "<ns0:Payload>", "<ns0:Payload>"+signature, 1),
		"and another in a child":                 strings.Replace(document, "<ns0:Payload>", "<ns0:Payload>"+signature, 1),
		"after the root element":                 strings.Replace(document, signature, "", 1) + signature,
		"the signature is the document":          signature,
		"another document around the signed one": other + document + end,
		"the signed one in an Object":            other + strings.Replace(signature, "</ds:KeyInfo>", "</ds:KeyInfo><ds:Object>"+document+"</ds:Object>", 1) + end,
		"a signature of another document":        other + signature + end,
		"an Id on the root and a URI":            strings.Replace(strings.Replace(document, ` name="GH100"`, ` Id="x" name="GH100"`, 1), `URI=""`, `URI="#x"`, 1),
		"no URI":                                 strings.Replace(document, ` URI=""`, "", 1),
		"an Id on SignedInfo":                    strings.Replace(document, "<ds:SignedInfo>", `<ds:SignedInfo Id="a">`, 1),
		"two references":                         doubled(document, "<ds:Reference ", "</ds:Reference>"),
		"no transforms":                          cut(document, "<ds:Transforms>", "</ds:Transforms>"),
		"a third transform":                      doubled(document, `<ds:Transform Algorithm="http://www.w3.org/2006`, "</ds:Transform>"),
		"an XPath transform":                     strings.Replace(document, "http://www.w3.org/2000/09/xmldsig#enveloped-signature", "http://www.w3.org/TR/1999/REC-xpath-19991116", 1),
		"exclusive canonical form":               strings.ReplaceAll(document, "http://www.w3.org/2006/12/xml-c14n11", "http://www.w3.org/2001/10/xml-exc-c14n#"),
		"HMAC":                                   strings.Replace(document, "xmldsig-more#ecdsa-sha384", "xmldsig-more#hmac-sha384", 1),
		"ECDSA with SHA-1":                       strings.Replace(document, "xmldsig-more#ecdsa-sha384", "xmldsig-more#ecdsa-sha1", 1),
		"a digest of SHA-256":                    strings.Replace(document, "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2001/04/xmlenc#sha256", 1),
		"a key value instead":                    strings.Replace(strings.Replace(document, "<ds:X509Data>", "<ds:KeyValue>", 1), "</ds:X509Data>", "</ds:KeyValue>", 1),
		"no certificate":                         cut(document, "<ds:X509Certificate>", "</ds:X509Data>"),
		"a comment":                              strings.Replace(document, "<ns0:Payload>", "<ns0:Payload><!-- -->", 1),
		"a comment in a value":                   strings.Replace(document, "<ds:SignatureValue>", "<ds:SignatureValue><!-- -->", 1),
		"a CDATA section":                        strings.Replace(document, "<ns0:Payload>", "<ns0:Payload><![CDATA[]]>", 1),
		"a processing instruction":               strings.Replace(document, "<ns0:Payload>", "<ns0:Payload><?x y?>", 1),
		"a DOCTYPE":                              `<!DOCTYPE x [<!ENTITY a "b">]>` + document,
		"an entity":                              strings.Replace(document, `name="GH100"`, `name="&a;"`, 1),
		"a character reference":                  strings.Replace(document, `name="GH100"`, `name="&#71;H100"`, 1),
		"an unterminated reference":              strings.Replace(document, `name="GH100"`, `name="&amp"`, 1),
		"a carriage return":                      strings.Replace(document, "<ns0:Payload>", "<ns0:Payload>\r", 1),
		"a null byte":                            strings.Replace(document, "<ns0:Payload>", "<ns0:Payload>\x00", 1),
		"what is no UTF-8":                       strings.Replace(document, "<ns0:Payload>", "<ns0:Payload>\xff", 1),
		"a byte order mark":                      "\ufeff" + document,
		"another encoding":                       `<?xml version="1.0" encoding="UTF-16"?>` + document,
		"XML 1.1":                                `<?xml version="1.1"?>` + document,
		"an attribute twice":                     strings.Replace(document, ` name="GH100"`, ` name="GH100" name="GH100"`, 1),
		"an attribute twice by two prefixes":     strings.Replace(document, "ns2:Hash0=", `xmlns:n="http://www.w3.org/2001/04/xmlenc#sha384" n:Hash0="0" ns2:Hash0=`, 1),
		"an attribute of the namespace xml":      strings.Replace(document, ` name="GH100"`, ` name="GH100" xml:lang="en"`, 1),
		"the prefix xml declared":                strings.Replace(document, ` name="GH100"`, ` name="GH100" xmlns:xml="http://www.w3.org/XML/1998/namespace"`, 1),
		"a prefix undeclared":                    strings.Replace(document, "<ns0:Payload>", `<ns0:Payload xmlns:ns2="">`, 1),
		"the default namespace undeclared":       strings.Replace(document, "<ns0:Payload>", `<ns0:Payload xmlns="">`, 1),
		"a prefix that is not declared":          strings.Replace(document, "<ns0:Payload>", "<ns9:Payload>", 1),
		"end tags crossed":                       strings.Replace(document, "</ns0:Payload>", "</ns0:Meta>", 1),
		"a value without quotes":                 strings.Replace(document, `name="GH100"`, "name=GH100", 1),
		"attributes without space":               strings.Replace(document, ` name="GH100" `, ` name="GH100"`, 1),
		"a line break in a value":                strings.Replace(document, `name="GH100"`, "name=\"GH\n100\"", 1),
		"]]> in text":                            strings.Replace(document, "<ns0:Payload>", "<ns0:Payload>]]>", 1),
		"a second document":                      document + document,
		"nothing":                                "",
	} {
		t.Run(name, func(t *testing.T) {
			if text == document {
				t.Fatal("nothing was changed")
			}
			got, err := xmlsig.Open([]byte(text), trust)
			if !errors.Is(err, xmlsig.ErrSyntax) && !errors.Is(err, xmlsig.ErrSignature) || got != nil {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

// doubled repeats the part of text from one string to the end of another; cut leaves it out but for the other.
func doubled(text, from, to string) string {
	start := strings.LastIndex(text, from)
	stop := start + strings.Index(text[start:], to) + len(to)
	return text[:stop] + text[start:]
}

func cut(text, from, to string) string {
	start := strings.Index(text, from)
	return text[:start] + text[start+strings.Index(text[start:], to):]
}

func TestTheCallerDecides(t *testing.T) {
	document, _, _ := signed(t)
	other, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	small, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for name, test := range map[string]struct {
		key  *ecdsa.PublicKey
		err  error
		want error
	}{
		"an error":        {nil, errUnknown, errUnknown},
		"another's key":   {&other.PublicKey, nil, xmlsig.ErrSignature},
		"another curve":   {&small.PublicKey, nil, xmlsig.ErrSignature},
		"no key, no fail": {nil, nil, xmlsig.ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := xmlsig.Open([]byte(document), func([][]byte) (*ecdsa.PublicKey, error) { return test.key, test.err })
			if !errors.Is(err, test.want) || content != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestHugeDocuments: what is nested, repeated or long without end costs little memory.
func TestHugeDocuments(t *testing.T) {
	for name, text := range map[string]string{
		"deep":            strings.Repeat("<a>", 50_000),
		"many elements":   "<a>" + strings.Repeat("<b/>", 60_000) + "</a>",
		"many attributes": "<a" + strings.Repeat(` b="1"`, 40_000) + "/>",
		"many namespaces": "<a" + strings.Repeat(` xmlns:b="1"`, 20_000) + "/>",
		"long text":       "<a>" + strings.Repeat("&amp;", 50_000) + "</a>",
		"too long":        "<a>" + strings.Repeat(" ", xmlsig.MaxDocument) + "</a>",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := xmlsig.Open([]byte(text), nil)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("it is accepted")
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
				t.Errorf("%d bytes were allocated", grown)
			}
		})
	}
}

func TestMutatedDocuments(t *testing.T) {
	document, content, trust := signed(t)
	mutate.Run(t, [][]byte{[]byte(document), []byte(content)}, func(t *testing.T, input []byte) {
		if got, err := xmlsig.Open(input, trust); err == nil && string(got) != content {
			t.Errorf("%s", got)
		}
	})
}

// FuzzOpen believes any certificate, so that what it begins with verifies in every process of the fuzzer. What is opened can be read,
// and has no signature.
func FuzzOpen(f *testing.F) {
	document, _, _ := signed(f)
	f.Add([]byte(document))
	f.Fuzz(func(t *testing.T, input []byte) {
		content, err := xmlsig.Open(input, func(certs [][]byte) (*ecdsa.PublicKey, error) {
			cert, err := x509.ParseCertificate(certs[0])
			if err != nil {
				return nil, err
			}
			key, _ := cert.PublicKey.(*ecdsa.PublicKey)
			return key, nil
		})
		if err != nil {
			return
		}
		if _, err := xmlsig.Parse(content); err != nil {
			t.Errorf("%v: %s", err, content)
		}
	})
}
