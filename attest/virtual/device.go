package virtual

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

// product is the processor a Device pretends to be.
const product = snp.Genoa

var cpu = snp.CPUID{Family: 0x19, Model: 0x11, Stepping: 1}

// defaultTCB is the TCB of a Device whose Config has none.
var defaultTCB = snp.TCB{Bootloader: 10, SNP: 23, Microcode: 25}

// Config says what a Device attests. The zero Config is a good guest with an all-zero measurement and a random chip.
type Config struct {
	Measurement    [snp.MeasurementSize]byte // launch measurement
	HostData       [snp.HostDataSize]byte    // init-data digest as snp.HostData makes it; zero for none
	ChipID         [snp.ChipIDSize]byte      // random when zero
	Debug          bool                      // the policy allows debugging
	MigrationAgent bool                      // the policy allows a migration agent
	VMPL           uint32                    // 0 to 3
	GuestSVN       uint32
	TCB            snp.TCB // bootloader 10, TEE 0, SNP 23, microcode 25 when zero
}

// Device is a pretended guest. It is safe for concurrent use.
type Device struct {
	cfg      Config
	reportID [32]byte
	key      *ecdsa.PrivateKey
	cert     *x509.Certificate
}

// NewDevice makes a device and has r certify its key, valid from now.
func (r *Root) NewDevice(random io.Reader, now time.Time, cfg Config) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.TCB == (snp.TCB{}) {
		cfg.TCB = defaultTCB
	}
	if cfg.ChipID == [snp.ChipIDSize]byte{} {
		if _, err := io.ReadFull(random, cfg.ChipID[:]); err != nil {
			return nil, fmt.Errorf("virtual: making a chip's identifier: %w", err)
		}
	}
	d := &Device{cfg: cfg}
	if _, err := io.ReadFull(random, d.reportID[:]); err != nil {
		return nil, fmt.Errorf("virtual: making a report identifier: %w", err)
	}
	var err error
	if d.key, err = ecdsa.GenerateKey(elliptic.P384(), random); err != nil {
		return nil, fmt.Errorf("virtual: making the device's key: %w", err)
	}
	d.cert, err = r.certify(random, now, &d.key.PublicKey, &snp.Endorsement{
		SigningKey: snp.VCEK, Product: string(product), TCB: cfg.TCB, HWID: cfg.ChipID[:],
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (c Config) check() error {
	if c.VMPL > 3 {
		return fmt.Errorf("virtual: VMPL %d: a guest has 0 to 3", c.VMPL)
	}
	if c.TCB.FMC != 0 {
		return fmt.Errorf("virtual: a TCB with an FMC, which %s processors have not", product)
	}
	return nil
}

// Config returns what d attests, defaults filled in.
func (d *Device) Config() Config { return d.cfg }

// With returns a device with d's key and certificate that attests something else: another image, say, or init-data, on the same
// host. The chip and the TCB are d's, since the certificate names them.
func (d *Device) With(change func(*Config)) (*Device, error) {
	cfg := d.cfg
	change(&cfg)
	cfg.ChipID, cfg.TCB = d.cfg.ChipID, d.cfg.TCB
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Device{cfg: cfg, reportID: d.reportID, key: d.key, cert: d.cert}, nil
}

// Evidence signs a report with reportData in it, zeros after it, and returns the extended report. reportData has at most
// 64 bytes. Randomness for the signature is read from random.
func (d *Device) Evidence(random io.Reader, reportData []byte) ([]byte, error) {
	if len(reportData) > snp.ReportDataSize {
		return nil, fmt.Errorf("virtual: report data of %d bytes: at most %d fit", len(reportData), snp.ReportDataSize)
	}
	tcb := d.cfg.TCB.Encode(product)
	firmware := snp.Firmware{Major: 1, Minor: 55, Build: 40}
	r := &snp.Report{
		Version: 3, Policy: snp.PolicyDefault | snp.PolicySMT, SignatureAlgo: 1,
		GuestSVN: d.cfg.GuestSVN, VMPL: d.cfg.VMPL, CPU: cpu,
		CurrentTCB: tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb,
		Current: firmware, Committed: firmware,
		Measurement: d.cfg.Measurement, HostData: d.cfg.HostData, ChipID: d.cfg.ChipID, ReportID: d.reportID,
		ReportIDMA: [32]byte(bytes.Repeat([]byte{0xff}, 32)), // no migration agent
	}
	if d.cfg.Debug {
		r.Policy |= snp.PolicyDebug
	}
	if d.cfg.MigrationAgent {
		r.Policy |= snp.PolicyMigrationAgent
	}
	copy(r.ReportData[:], reportData)
	x, y, err := ecdsa.Sign(random, d.key, digest(r.Marshal()[:snp.SignedSize]))
	if err != nil {
		return nil, fmt.Errorf("virtual: signing the report: %w", err)
	}
	if err := r.SetSignature(x, y); err != nil {
		return nil, err
	}
	return append(r.Marshal(), snp.Certificates{VCEK: d.cert.Raw}.Table()...), nil
}

// Files of a device in its folder.
const (
	fileConfig = "device.json"
	fileKey    = "device.pem"
)

// maxFile bounds the files of a device that are read, in bytes.
const maxFile = 64 << 10

// saved is the form of device.json.
type saved struct {
	Measurement    string  `json:"measurement"`
	HostData       string  `json:"host_data"`
	ChipID         string  `json:"chip_id"`
	ReportID       string  `json:"report_id"`
	Debug          bool    `json:"debug"`
	MigrationAgent bool    `json:"migration_agent"`
	VMPL           uint32  `json:"vmpl"`
	GuestSVN       uint32  `json:"guest_svn"`
	TCB            snp.TCB `json:"tcb"`
}

// Save writes d to dir, which it makes when it is not there: device.pem, the private key and certificate, and device.json, what it
// attests. Files are of mode 0600 and the folder, when made, of mode 0700. Each is replaced at once or not at all.
func (d *Device) Save(dir string) error {
	text, err := json.MarshalIndent(saved{
		Measurement: hex.EncodeToString(d.cfg.Measurement[:]), HostData: hex.EncodeToString(d.cfg.HostData[:]),
		ChipID: hex.EncodeToString(d.cfg.ChipID[:]), ReportID: hex.EncodeToString(d.reportID[:]),
		Debug: d.cfg.Debug, MigrationAgent: d.cfg.MigrationAgent, VMPL: d.cfg.VMPL, GuestSVN: d.cfg.GuestSVN, TCB: d.cfg.TCB,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("virtual: %w", err)
	}
	pair, err := marshalPair(d.key, d.cert)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("virtual: %w", err)
	}
	if err := writeFile(filepath.Join(dir, fileKey), pair); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, fileConfig), append(text, '\n'))
}

// writeFile replaces a file, for its owner only.
func writeFile(name string, content []byte) error {
	if err := atomicfile.Write(name, content, 0o600); err != nil {
		return fmt.Errorf("virtual: writing %s: %w", name, err)
	}
	return nil
}

// LoadDevice reads what Save wrote. device.json may be edited: what it says is what the device attests, except that the chip
// and TCB must be those of the certificate.
func LoadDevice(dir string) (*Device, error) {
	d := new(Device)
	pair, err := readFile(filepath.Join(dir, fileKey))
	if err != nil {
		return nil, err
	}
	if d.key, d.cert, err = parsePair(pair); err != nil {
		return nil, fmt.Errorf("virtual: %s: %w", filepath.Join(dir, fileKey), err)
	}
	name := filepath.Join(dir, fileConfig)
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	if err := d.parseConfig(text); err != nil {
		return nil, fmt.Errorf("virtual: %s: %w", name, err)
	}
	return d, nil
}

func (d *Device) parseConfig(text []byte) error {
	var s saved
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("more data after the object")
	}
	d.cfg = Config{
		Debug: s.Debug, MigrationAgent: s.MigrationAgent, VMPL: s.VMPL, GuestSVN: s.GuestSVN, TCB: s.TCB,
	}
	for _, field := range []struct {
		name string
		text string
		dst  []byte
	}{
		{"measurement", s.Measurement, d.cfg.Measurement[:]},
		{"host_data", s.HostData, d.cfg.HostData[:]},
		{"chip_id", s.ChipID, d.cfg.ChipID[:]},
		{"report_id", s.ReportID, d.reportID[:]},
	} {
		b, err := hex.DecodeString(field.text)
		if err != nil || len(b) != len(field.dst) {
			return fmt.Errorf("%s is not %d bytes in hex", field.name, len(field.dst))
		}
		copy(field.dst, b)
	}
	if err := d.cfg.check(); err != nil {
		return err
	}
	endorsement, err := snp.ParseEndorsement(d.cert)
	if err != nil {
		return err
	}
	if endorsement.TCB != d.cfg.TCB || !bytes.Equal(endorsement.HWID, d.cfg.ChipID[:]) {
		return errors.New("the chip or TCB is not that of the device's certificate, and has to be")
	}
	return nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("virtual: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("virtual: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("virtual: %s has over %d bytes", name, maxFile)
	}
	return b, nil
}
