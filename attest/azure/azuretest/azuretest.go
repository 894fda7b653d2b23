// Package azuretest makes, for tests, what the paravisor and the processor of an Azure confidential VM make: HCL reports, and hardware reports by
// the development TEE, with verifiers that take those for SEV-SNP's and TDX's. Nothing here proves anything about a machine.
package azuretest

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// Report types, as HCL reports have them.
const (
	SNP = 2
	TDX = 4
)

// Of the structures made here, in bytes.
const (
	hardwareSize    = 1184 // the area of an HCL report
	tdReportSize    = 1024
	tdReportData    = 128
	QuoteReportData = 48 + 520 // offset of the report data in a TD quote of version 4
	quoteMRTD       = 48 + 136
	QuoteBodyEnd    = 48 + 584
)

// VerifySNP returns a verifier of kind snp that takes reports of the development TEE, certified by root, for SEV-SNP's.
func VerifySNP(root *x509.Certificate) (attest.Verifier, error) {
	v, err := virtual.NewVerifier(root)
	return snpVerifier{v}, err
}

type snpVerifier struct{ *virtual.Verifier }

func (snpVerifier) Kind() attest.Kind { return attest.SNP }

func (v snpVerifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	claims, err := v.Verifier.Verify(ctx, in)
	if err == nil {
		claims.Kind, claims.HardwareRoot = attest.SNP, attest.RootGenoa
	}
	return claims, err
}

// VerifyTDX returns a verifier of kind tdx that checks of a quote what a verifier of confidential VMs relies on, that the quote's own report data is
// the binding, and no signature: it takes a quote of version 4 for what it says.
func VerifyTDX() attest.Verifier { return tdxVerifier{} }

type tdxVerifier struct{}

func (tdxVerifier) Kind() attest.Kind { return attest.TDX }

func (tdxVerifier) Verify(_ context.Context, in attest.Input) (*attest.Claims, error) {
	if len(in.Evidence) < QuoteBodyEnd || binary.LittleEndian.Uint16(in.Evidence) != 4 {
		return nil, attest.Refuse(attest.CodeMalformed, "not a quote")
	}
	if err := in.Binding.Padded(in.Evidence[QuoteReportData:QuoteBodyEnd]); err != nil {
		return nil, err
	}
	return &attest.Claims{
		Kind: attest.TDX, HardwareRoot: attest.RootIntel, Bound: attest.Ptr(in.Binding.IsBound()),
		Measurement: hex.EncodeToString(in.Evidence[quoteMRTD:][:48]), InitData: hex.EncodeToString(make([]byte, 48)),
		Debug: attest.Ptr(false), MigrationAgent: attest.Ptr(false), TCBStatus: attest.TCBUpToDate,
		Collateral: &attest.CollateralClaims{Current: true}, TDX: &attest.TDXClaims{QuoteVersion: 4},
		Intel: &attest.IntelClaims{FMSPC: "00"},
	}, nil
}

// Key returns a key as variable data has it.
func Key(id, operation string, key *rsa.PublicKey) string {
	return fmt.Sprintf(`{"kid":"%s","key_ops":["%s"],"kty":"RSA","e":"AQAB","n":"%s"}`, id, operation,
		base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
}

// VariableData returns variable data with keys, as [Key] makes them, and up to 64 bytes of user data.
func VariableData(keys string, userData []byte) string {
	padded := make([]byte, 64)
	copy(padded, userData)
	return fmt.Sprintf(`{"keys":[%s],"vm-configuration":{"console-enabled":true,"secure-boot":true,"tpm-enabled":true,`+
		`"vmUniqueId":"26F8BC30-774E-4290-8E7A-535F3B672AEE"},"user-data":"%X"}`, keys, padded)
}

// TDReport returns a TD report with report data and nothing else.
func TDReport(reportData []byte) []byte {
	report := make([]byte, tdReportSize)
	report[0] = 0x81
	copy(report[tdReportData:tdReportData+64], reportData)
	return report
}

// TDQuote returns a quote for a TD report, as [VerifyTDX] takes it: without a signature.
func TDQuote(report []byte) []byte {
	quote := make([]byte, QuoteBodyEnd+64)
	quote[0] = 4
	copy(quote[QuoteReportData:QuoteBodyEnd], report[tdReportData:])
	return quote
}

// Envelope returns an HCL report of a type, with zeros after it up to size bytes.
func Envelope(variable string, hardware []byte, reportType uint32, size int) []byte {
	const header, dataHeader = 32, 20
	out := []byte("HCLA")
	number := func(list ...int) {
		for _, n := range list {
			out = binary.LittleEndian.AppendUint32(out, uint32(n))
		}
	}
	number(1, header+hardwareSize+dataHeader+len(variable), 2, 0, 0, 0, 0)
	area := make([]byte, hardwareSize)
	copy(area, hardware)
	out = append(out, area...)
	number(dataHeader+len(variable), 1, int(reportType), 1, len(variable))
	out = append(out, variable...)
	return append(out, make([]byte, max(0, size-len(out)))...)
}
