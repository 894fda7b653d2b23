// Package xmlsig opens XML documents that carry an enveloped signature (W3C "XML Signature Syntax and Processing Version 1.1"), of the
// one shape that NVIDIA's reference manifests have. It is no general implementation: what is not needed for them is an error, since every
// freedom of XML signatures has been used to make a verifier look at other data than was signed.
//
// # What is accepted
//
// A document in UTF-8 without entities but the five that XML predefines, without DOCTYPE, comments, processing instructions, CDATA
// sections, carriage returns, and attributes of the namespace xml. At most [MaxDocument] bytes, nested at most 16 deep. Among the
// children of its root element is exactly one ds:Signature, there is none anywhere else, and it has exactly
//
//	SignedInfo
//	  CanonicalizationMethod  Canonical XML 1.1
//	  SignatureMethod         ECDSA with SHA-384
//	  Reference URI=""        the whole document
//	    Transforms            enveloped signature, then Canonical XML 1.1
//	    DigestMethod          SHA-384
//	    DigestValue           48 bytes
//	SignatureValue            r and s, 48 bytes each
//	KeyInfo
//	  X509Data
//	    X509Certificate       1 to 8
//
// in this order, each once, with no other element, attribute or text.
//
// # What is verified
//
// [Open] puts the document without its signature in canonical form, compares its SHA-384 with the digest in SignedInfo, has its caller
// decide whose key the certificates prove, and verifies the signature over the canonical form of SignedInfo. It returns the canonical
// bytes that were hashed and nothing else. Whoever reads them with [Parse] cannot read what was not signed, wherever the signature
// stands and whatever else the document has: attacks that wrap or move signed elements have nothing to work with. Namespaces that
// SignedInfo inherits from the root element are part of its canonical form.
//
// # Canonical form
//
// Canonical XML 1.1 (https://www.w3.org/TR/xml-c14n11/) of a whole document differs from version 1.0 only for attributes of the namespace
// xml, which are refused here. Text outside the root element is white space and not part of it.
//
// # What it does not do
//
// It builds no certificate chains and knows no roots. It opens no detached or enveloping signature, resolves no URI, and supports no
// transform that could select a part of the document.
package xmlsig
