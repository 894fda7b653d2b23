package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/cca"
	"github.com/vouchsafe/vouchsafe/attest/csv"
	"github.com/vouchsafe/vouchsafe/attest/nitro"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/se"
	"github.com/vouchsafe/vouchsafe/attest/sgx"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// saying is what evidence says, by name. Bytes are lower-case hex.
type saying map[string]any

// inspectDCAP tells of a quote of Intel's, and of the collateral that it needs.
func inspectDCAP(kind attest.Kind, data []byte) (*inspected, error) {
	inspect := tdx.Inspect
	if kind == attest.SGX {
		inspect = sgx.Inspect
	}
	claims, err := inspect(data)
	if err != nil {
		return nil, err
	}
	said := &inspected{Kind: kind, Claims: claims}
	said.need(kind, data)
	return said, nil
}

// need adds the collateral that evidence needs. Where nobody certified the platform there is none, which verifying it says.
func (i *inspected) need(kind attest.Kind, data []byte) {
	needs, err := endorsementNeeds(kind, data)
	if err != nil {
		return
	}
	for _, n := range needs {
		i.Collateral = append(i.Collateral, strings.Join(n, " or "))
	}
}

func inspectAzure(kind attest.Kind, data []byte) (*inspected, error) {
	ev, err := azure.ParseEvidence(kind, data)
	if err != nil {
		return nil, err
	}
	report, err := azure.ParseHCLReport(ev.HCLReport)
	if err != nil {
		return nil, err
	}
	q, err := tpm.ParseAnyQuote(ev.Message)
	if err != nil {
		return nil, err
	}
	hardware, err := azureHardware(kind, data)
	if err != nil {
		return nil, err
	}
	of, judge := attest.SNP, inspectReport
	if kind == attest.AzTDXvTPM {
		of, judge = attest.TDX, inspectDCAP
	}
	said, err := judge(of, hardware)
	if err != nil {
		return nil, err
	}
	said.Kind, said.Said = kind, saying{
		"layout_version": ev.Version, "report_type": report.Type, "extra_data": hex.EncodeToString(q.ExtraData),
		"user_data": hex.EncodeToString(report.Runtime.UserData), "pcrs": hexes(ev.PCRs), "event_log_bytes": len(ev.EventLog),
	}
	said.Collateral = nil
	said.need(kind, data)
	return said, nil
}

func hexes(values [][]byte) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = hex.EncodeToString(v)
	}
	return out
}

func inspectNitro(data []byte) (*inspected, error) {
	d, err := nitro.Parse(data)
	if err != nil {
		return nil, err
	}
	pcrs := map[int]string{}
	for i, value := range d.PCRs {
		pcrs[i] = hex.EncodeToString(value[:])
	}
	return &inspected{Kind: attest.Nitro, Said: saying{
		"module_id": d.ModuleID, "timestamp": d.Timestamp, "pcrs": pcrs, "nonce": hex.EncodeToString(d.Nonce),
		"user_data": hex.EncodeToString(d.UserData), "public_key": hex.EncodeToString(d.PublicKey), "certificates": 1 + len(d.CABundle),
	}}, nil
}

func inspectCCA(data []byte) (*inspected, error) {
	t, err := cca.Parse(data)
	if err != nil {
		return nil, err
	}
	var extensible []string
	for _, m := range t.Realm.ExtensibleMeasurements {
		extensible = append(extensible, hex.EncodeToString(m))
	}
	var components []saying
	for _, c := range t.Platform.Components {
		components = append(components, saying{
			"type": c.Type, "measurement": hex.EncodeToString(c.Measurement), "signer": hex.EncodeToString(c.Signer), "version": c.Version,
		})
	}
	return &inspected{Kind: attest.CCA, Said: saying{
		"implementation_id": hex.EncodeToString(t.Platform.ImplementationID[:]), "instance_id": hex.EncodeToString(t.Platform.InstanceID[:]),
		"lifecycle": t.Platform.Lifecycle, "platform_config": hex.EncodeToString(t.Platform.Config), "components": components,
		"challenge": hex.EncodeToString(t.Realm.Challenge[:]), "personalization": hex.EncodeToString(t.Realm.Personalization[:]),
		"initial_measurement": hex.EncodeToString(t.Realm.InitialMeasurement), "extensible_measurements": extensible,
	}}, nil
}

func inspectCSV(data []byte) (*inspected, error) {
	ev, err := csv.Parse(data)
	if err != nil {
		return nil, err
	}
	said := &inspected{Kind: attest.CSV, Said: saying{
		"report_version": ev.Report.Version, "measure": hex.EncodeToString(ev.Report.Measure[:]), "policy": ev.Report.Policy,
		"report_data": hex.EncodeToString(ev.Report.ReportData[:]), "serial": ev.Serial, "hsk_cek": ev.HSKCEK != nil,
	}}
	said.need(attest.CSV, data)
	return said, nil
}

func inspectSE(data []byte) (*inspected, error) {
	r, err := se.Parse(data)
	if err != nil {
		return nil, err
	}
	return &inspected{Kind: attest.SE, Said: saying{
		"measurement": hex.EncodeToString(r.Measurement), "cuid": hex.EncodeToString(r.CUID), "user_data": hex.EncodeToString(r.UserData),
		"additional_data": hex.EncodeToString(r.AdditionalData),
	}}, nil
}

func inspectDevices(data []byte) (*inspected, error) {
	devices, err := nvidia.Parse(data)
	if err != nil {
		return nil, err
	}
	var all []saying
	for i := range devices {
		report, err := nvidia.ParseReport(devices[i].Report)
		if err != nil {
			return nil, err
		}
		measurements := map[int]string{}
		for _, b := range report.Blocks {
			measurements[b.Index] = hex.EncodeToString(b.Value)
		}
		all = append(all, saying{
			"architecture": devices[i].Architecture, "uuid": devices[i].UUID, "nonce": hex.EncodeToString(report.Nonce[:]), "measurements": measurements,
		})
	}
	return &inspected{Kind: attest.NVIDIA, Said: all}, nil
}

// inspectToken tells of a compact token, which evidence is or has as its member token.
func inspectToken(data []byte) (*inspected, error) {
	text := string(bytes.TrimSpace(data))
	if strings.HasPrefix(text, "{") {
		object, err := strictjson.Object(data)
		if err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "%w", err)
		}
		if text, err = strictjson.String(object["token"]); err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "the member token: %w", err)
		}
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, attest.Refuse(attest.CodeMalformed, "a compact token has three parts, and this has %d", len(parts))
	}
	said := saying{}
	for i, name := range []string{"header", "claims"} {
		part, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil && !json.Valid(part) {
			err = errors.New("it is not JSON")
		}
		if err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "its %s: %w", name, err)
		}
		said[name] = json.RawMessage(part)
	}
	return &inspected{Kind: attest.Token, Said: said}, nil
}
