package nvidiatest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Device is a GPU or switch.
type Device struct {
	w                           *World
	Arch, Chip, UUID            string
	Provisioner, Identity, Leaf Authority
	FWID                        []byte
	Blocks                      []Block
	Fields                      []Field
}

// Block is one measurement.
type Block struct {
	Index byte
	Value []byte
}

// Field is one field of opaque data.
type Field struct {
	Number uint16
	Value  []byte
}

// Shape changes a device before its certificates are made.
type Shape struct {
	Provisioner, Identity, Leaf func(*x509.Certificate) // the certificates before they are signed
	ProvisionerName             string                  // instead of "NVIDIA <chip> Provisioner ICA 1"
	IdentityName, LeafName      string
	Family                      *Authority
}

// NewDevice makes a device of an architecture, HOPPER, BLACKWELL or LS10.
func (w *World) NewDevice(arch string, s Shape) *Device {
	w.tb.Helper()
	chip := map[string]string{"HOPPER": "GH100", "BLACKWELL": "GB100", "LS10": "LS_10"}[arch]
	d := &Device{w: w, Arch: arch, Chip: chip, UUID: fmt.Sprintf("GPU-%s", rand.Text())}
	pick := func(name, usual string) string {
		if name != "" {
			return name
		}
		return usual
	}
	family := &w.Family
	if s.Family != nil {
		family = s.Family
	}
	fwid := sha512.Sum384([]byte("firmware of " + chip))
	d.FWID = fwid[:]
	d.Provisioner = w.Issue(family, pick(s.ProvisionerName, "NVIDIA "+chip+" Provisioner ICA 1"), true, s.Provisioner)
	d.Identity = w.Issue(&d.Provisioner, pick(s.IdentityName, chip+" A01 GSP BROM"), true, s.Identity)
	d.Leaf = w.Issue(&d.Identity, pick(s.LeafName, chip+" A01 GSP FMC LF"), false, func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, Name("NVIDIA:"+chip+":48B02D0000000001"))
		if arch == "BLACKWELL" {
			c.ExtraExtensions = append(c.ExtraExtensions, TCBInfo(d.FWID, 0))
		} else {
			c.ExtraExtensions = append(c.ExtraExtensions, Composite(d.Identity.Key, d.FWID))
		}
		if s.Leaf != nil {
			s.Leaf(c)
		}
	})
	for i := byte(1); i <= 8; i++ {
		value := sha512.Sum384([]byte{i})
		d.Blocks = append(d.Blocks, Block{i, value[:]})
	}
	d.Fields = []Field{{20, d.FWID}}
	if arch == "LS10" {
		d.Fields = append(d.Fields, Field{6, []byte("96.10.6d.00.01\x00")}, Field{22, []byte{0x48, 0xb0, 0x2d, 0, 0, 0, 0, 1}},
			Field{26, append(make([]byte, 56), 0x48, 0xb0, 0x2d, 0, 0, 0, 0, 9, 1, 2)})
		return d
	}
	d.Fields = append(d.Fields, Field{3, []byte("580.10.01\x00")}, Field{6, []byte{0, 0x9f, 0, 0x96, 1, 0, 0, 0}}, Field{11, []byte{0xaa}},
		Field{15, []byte("882\x00\x00")}, Field{17, []byte("1010\x00")}, Field{18, []byte("0200\x00")}, Field{36, []byte{1}},
		Field{22, []byte{0x48, 0xb0, 0x2d, 0, 0, 0, 0, 1}})
	if arch == "BLACKWELL" {
		d.Fields = append(d.Fields, Field{35, []byte("GB100\x00")}, Field{34, []byte{1}})
	}
	return d
}

// Set sets a field of opaque data, nil to leave it out.
func (d *Device) Set(number uint16, value []byte) {
	for i, f := range d.Fields {
		if f.Number == number {
			d.Fields = append(d.Fields[:i:i], d.Fields[i+1:]...)
			break
		}
	}
	if value != nil {
		d.Fields = append(d.Fields, Field{number, value})
	}
}

// Certificates returns the chain, the leaf first and the root last.
func (d *Device) Certificates() []*x509.Certificate {
	return []*x509.Certificate{
		d.Leaf.Certificate, d.Identity.Certificate, d.Provisioner.Certificate, d.w.Family.Certificate, d.w.DeviceRoot.Certificate,
	}
}

// Parts are what a report is put together from before it is signed.
type Parts struct {
	Request      []byte // version, code, parameters
	Nonce        []byte
	Response     []byte // version, code, parameters
	Count        int
	Record       []byte
	RecordLength int
	Opaque       []byte
	OpaqueLength int
	Rest         []byte // after the opaque data, signed too
}

// Report makes a signed report on nonce. change may make it wrong before it is signed.
func (d *Device) Report(nonce []byte, change func(*Parts)) []byte {
	d.w.tb.Helper()
	p := Parts{Request: []byte{0x11, 0xe0, 1, 0xff}, Nonce: nonce[:32], Response: []byte{0x11, 0x60, 0, 0}, Count: len(d.Blocks)}
	for _, b := range d.Blocks {
		p.Record = append(p.Record, b.Index, 1)
		p.Record = binary.LittleEndian.AppendUint16(p.Record, uint16(3+len(b.Value)))
		p.Record = binary.LittleEndian.AppendUint16(append(p.Record, 1), uint16(len(b.Value)))
		p.Record = append(p.Record, b.Value...)
	}
	for _, f := range d.Fields {
		p.Opaque = binary.LittleEndian.AppendUint16(p.Opaque, f.Number)
		p.Opaque = binary.LittleEndian.AppendUint16(p.Opaque, uint16(len(f.Value)))
		p.Opaque = append(p.Opaque, f.Value...)
	}
	p.RecordLength, p.OpaqueLength = len(p.Record), len(p.Opaque)
	if change != nil {
		change(&p)
	}
	out := append(append(append([]byte{}, p.Request...), p.Nonce...), 0)
	out = append(append(out, p.Response...), byte(p.Count), byte(p.RecordLength), byte(p.RecordLength>>8), byte(p.RecordLength>>16))
	out = append(append(out, p.Record...), make([]byte, 32)...)
	out = append(binary.LittleEndian.AppendUint16(out, uint16(p.OpaqueLength)), p.Opaque...)
	out = append(out, p.Rest...)
	return append(out, Sign(d.Leaf.Key, out)...)
}

// Sign returns r and s over data, 48 bytes each, by ECDSA with SHA-384.
func Sign(key *ecdsa.PrivateKey, data []byte) []byte {
	digest := sha512.Sum384(data)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		panic(err)
	}
	out := make([]byte, 96)
	r.FillBytes(out[:48])
	s.FillBytes(out[48:])
	return out
}

// Wire is a device's evidence as KBS clients write it.
type Wire struct {
	Arch        string `json:"arch"`
	UUID        string `json:"uuid"`
	Evidence    string `json:"evidence"`
	Certificate string `json:"certificate"`
}

// Present returns the evidence of a device about nonce.
func (d *Device) Present(nonce []byte) Wire { return d.PresentReport(d.Report(nonce, nil)) }

// PresentReport returns the evidence of a device with a report.
func (d *Device) PresentReport(report []byte) Wire {
	return Wire{
		Arch: d.Arch, UUID: d.UUID, Evidence: base64.StdEncoding.EncodeToString(report),
		Certificate: base64.StdEncoding.EncodeToString(PEM(d.Certificates()...)),
	}
}

// Evidence returns what a client sends of devices.
func Evidence(devices ...Wire) []byte {
	text, err := json.Marshal(map[string]any{"device_evidence_list": devices})
	if err != nil {
		panic(err)
	}
	return text
}
