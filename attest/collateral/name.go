package collateral

import (
	"fmt"
	"strings"
)

// Vendor is whose collateral an item is: the first segment of its name.
type Vendor string

// The vendors.
const (
	AMD    Vendor = "amd"
	Intel  Vendor = "intel"
	NVIDIA Vendor = "nvidia"
	Hygon  Vendor = "hygon"
	JWKS   Vendor = "jwks" // other verifiers' key sets
)

// Vendors returns every vendor.
func Vendors() []Vendor { return []Vendor{AMD, Intel, NVIDIA, Hygon, JWKS} }

// Type is what an item is, with its vendor's: amd/vcek, intel/tcb. There are few, so they can be labels of metrics.
type Type string

// The types of items.
const (
	TypeVCEK     Type = "amd/vcek"
	TypeVLEK     Type = "amd/vlek"
	TypeAMDCRL   Type = "amd/crl"
	TypeTCB      Type = "intel/tcb"
	TypeIdentity Type = "intel/identity"
	TypeIntelCRL Type = "intel/crl"
	TypeRIM      Type = "nvidia/rim"
	TypeOCSP     Type = "nvidia/ocsp"
	TypeHSKCEK   Type = "hygon/hsk_cek"
	TypeJWKS     Type = "jwks"
)

// Types returns the types of a vendor's items.
func Types(v Vendor) []Type {
	var out []Type
	for _, t := range []Type{TypeVCEK, TypeVLEK, TypeAMDCRL, TypeTCB, TypeIdentity, TypeIntelCRL, TypeRIM, TypeOCSP, TypeHSKCEK, TypeJWKS} {
		if (Name{kind: t}).Vendor() == v {
			out = append(out, t)
		}
	}
	return out
}

// Name is the name of an item, taken apart. Only [ParseName] makes one that is not zero, so one that is at hand is well-formed and can be part of a
// file name, a URL's path and a store's key as it is.
type Name struct {
	text string
	kind Type
	args []string // what follows the type: product and id; technology and FMSPC; …
}

// String returns the name as it was given.
func (n Name) String() string { return n.text }

// Type returns what the item is.
func (n Name) Type() Type { return n.kind }

// Vendor returns whose it is.
func (n Name) Vendor() Vendor {
	vendor, _, _ := strings.Cut(string(n.kind), "/")
	return Vendor(vendor)
}

// Arg returns the i-th segment after the type, "" where there is none.
func (n Name) Arg(i int) string {
	if i >= len(n.args) {
		return ""
	}
	return n.args[i]
}

// maxName bounds a name in bytes: a VCEK's of Milan or Genoa has 160, and a file or a store's key has no more than 255 to a segment.
const maxName = 192

// hex digits of what names are made of.
const (
	hwidHex   = 2 * 64 // a chip of Milan and Genoa
	turinHex  = 2 * 8
	tcbHex    = 2 * 8
	fmspcHex  = 2 * 6
	sha256Hex = 2 * 32
)

// NameError is a name that no item can have.
type NameError struct {
	Name string
	Want string // what names of its type look like
}

func (e *NameError) Error() string {
	return fmt.Sprintf("collateral: %.200q is no name of an item: want %s", e.Name, e.Want)
}

// ParseName reads the name of an item, strictly: there is one spelling of each. It fails with a *[NameError].
func ParseName(text string) (Name, error) {
	bad := func(want string) (Name, error) { return Name{}, &NameError{text, want} }
	if len(text) > maxName {
		return bad(fmt.Sprintf("at most %d bytes", maxName))
	}
	parts := strings.Split(text, "/")
	if parts[0] == string(JWKS) {
		if len(parts) != 2 || !isLabel(parts[1]) {
			return bad("jwks/VERIFIER, of lower-case letters, digits and hyphens")
		}
		return Name{text, TypeJWKS, parts[1:]}, nil
	}
	if len(parts) < 3 {
		return bad("VENDOR/TYPE/…, such as amd/crl/Genoa or intel/crl/root")
	}
	n := Name{text, Type(parts[0] + "/" + parts[1]), parts[2:]}
	form, ok := grammar[n.kind]
	if !ok {
		return bad("one that begins with amd/vcek, amd/vlek, amd/crl, intel/tcb, intel/identity, intel/crl, nvidia/rim, nvidia/ocsp, hygon/hsk_cek or jwks")
	}
	if !form.is(n.args) {
		return bad(form.want)
	}
	return n, nil
}

// form says what follows a type.
type form struct {
	is   func(args []string) bool
	want string
}

var grammar = map[Type]form{
	TypeVCEK: {isVCEK, "amd/vcek/PRODUCT/HWID-TCB, lower-case hex, HWID of 64 bytes (Turin: 8) that are not all zero, TCB of 8"},
	TypeVLEK: {func(a []string) bool { return len(a) == 2 && isProduct(a[0]) && isTCB(a[0], a[1]) },
		"amd/vlek/PRODUCT/TCB, TCB of 8 bytes in lower-case hex"},
	TypeAMDCRL: {func(a []string) bool { return len(a) == 1 && isProduct(a[0]) }, "amd/crl/Milan, amd/crl/Genoa or amd/crl/Turin"},
	TypeTCB: {func(a []string) bool { return len(a) == 2 && oneOf(a[0], "sgx", "tdx") && isHex(a[1], fmspcHex) },
		"intel/tcb/sgx/FMSPC or intel/tcb/tdx/FMSPC, FMSPC of 6 bytes in lower-case hex"},
	TypeIdentity: {func(a []string) bool { return len(a) == 1 && oneOf(a[0], "qe", "tdqe") }, "intel/identity/qe or intel/identity/tdqe"},
	TypeIntelCRL: {func(a []string) bool { return len(a) == 1 && oneOf(a[0], "processor", "platform", "root") },
		"intel/crl/processor, intel/crl/platform or intel/crl/root"},
	TypeRIM: {func(a []string) bool { return len(a) == 1 && isRIM(a[0]) },
		"nvidia/rim/ID, of letters, digits, underscores, hyphens and dots, at most 128"},
	TypeOCSP: {func(a []string) bool { return len(a) == 1 && isHex(a[0], sha256Hex) }, "nvidia/ocsp/SHA256, of 32 bytes in lower-case hex"},
	TypeHSKCEK: {func(a []string) bool { return len(a) == 1 && isSerial(a[0]) },
		"hygon/hsk_cek/SERIAL, of letters and digits, at most 64"},
}

func oneOf(text string, of ...string) bool {
	for _, t := range of {
		if t == text {
			return true
		}
	}
	return false
}

func isProduct(text string) bool { return oneOf(text, "Milan", "Genoa", "Turin") }

func isHex(text string, length int) bool {
	if len(text) != length {
		return false
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// isTCB reports whether text is a TCB as a product's reports have it: reserved bytes are zero (AMD publication 56860).
func isTCB(product, text string) bool {
	if !isHex(text, tcbHex) {
		return false
	}
	if product == "Turin" {
		return text[8:14] == "000000"
	}
	return text[4:12] == "00000000"
}

func isVCEK(a []string) bool {
	if len(a) != 2 || !isProduct(a[0]) {
		return false
	}
	chip, tcb, ok := strings.Cut(a[1], "-")
	length := hwidHex
	if a[0] == "Turin" {
		length = turinHex
	}
	// All zeros are a chip that hides itself, of which nobody can know the certificate.
	return ok && isHex(chip, length) && strings.Trim(chip, "0") != "" && isTCB(a[0], tcb)
}

// isRIM reports whether text can be the identifier of a manifest: NV_GPU_DRIVER_GH100_535.86.09. The first character is no dot, so that none is
// a relative path or a hidden file.
func isRIM(text string) bool {
	if text == "" || len(text) > 128 || text[0] == '.' || text[0] == '-' {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// isSerial reports whether text can be the serial number of one of Hygon's chips.
func isSerial(text string) bool {
	if text == "" || len(text) > 64 {
		return false
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// isLabel reports whether text can be the name that an operator gives a verifier.
func isLabel(text string) bool {
	if text == "" || len(text) > 63 || text[0] == '-' {
		return false
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return true
}
