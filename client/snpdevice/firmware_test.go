package snpdevice

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/client/linuxabi"
	sevtest "github.com/google/go-sev-guest/testing"
	"github.com/google/go-sev-guest/verify"
	"golang.org/x/sys/unix"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// chip is go-sev-guest's fake of the device: it signs reports as a processor does, and has certificates.
func chip(t *testing.T, data []byte) *sevtest.Device {
	t.Helper()
	signer, err := sevtest.DefaultTestOnlyCertChain("Milan-B1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	table, err := signer.CertTableBytes()
	if err != nil {
		t.Fatal(err)
	}
	padded := make([]byte, reportDataSize)
	copy(padded, data)
	response := &sevtest.GetReportResponse{}
	report := response.Resp.Data[:reportSize]
	binary.LittleEndian.PutUint32(report, 2)        // version
	binary.LittleEndian.PutUint32(report[0x34:], 1) // ECDSA P-384 with SHA-384
	report[0x08+2] = 2                              // of the policy: a bit that is always set
	copy(report[reportDataOffset:], padded)
	return &sevtest.Device{
		ReportDataRsp: map[string]any{hex.EncodeToString(padded): response},
		Certs:         table, Signer: signer,
	}
}

// counter counts the calls of a device, and may change what it answers.
type counter struct {
	Firmware
	calls  []uintptr
	answer func(command uintptr, message *linuxabi.SnpUserGuestRequest) (uintptr, error) // instead; may be nil
}

func (c *counter) Ioctl(command uintptr, request any) (uintptr, error) {
	c.calls = append(c.calls, command)
	if c.answer != nil {
		return c.answer(command, request.(*linuxabi.SnpUserGuestRequest))
	}
	return c.Firmware.Ioctl(command, request)
}

func open(t *testing.T, f Firmware) *Device {
	t.Helper()
	d, err := Open(t.Context(), Config{Firmware: f})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFirmware: a report with its certificates, in one call.
func TestFirmware(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 48)
	fake := chip(t, digest)
	c := &counter{Firmware: fake}
	evidence, err := open(t, c).Evidence(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.calls) != 1 {
		t.Errorf("%d calls", len(c.calls))
	}
	report, table := evidence[:reportSize], evidence[reportSize:]
	if err := verify.SnpReportSignature(report, fake.Signer.Vcek); err != nil {
		t.Errorf("the chip did not sign that: %v", err)
	}
	if !bytes.Equal(table, fake.Certs) {
		t.Errorf("a table of %d bytes, not %d", len(table), len(fake.Certs))
	}
	certificates, err := snp.ParseTable(table)
	if err != nil || !bytes.Equal(certificates.VCEK, fake.Signer.Vcek.Raw) {
		t.Errorf("the table has not the chip's certificate: %v", err)
	}
}

// TestFirmwareOfVirtualDevice: what is collected verifies. The other tests have no evidence that does.
func TestFirmwareOfVirtualDevice(t *testing.T) {
	m := newMachine(t, 0)
	digest := bytes.Repeat([]byte{9}, 64)
	c := &counter{answer: func(_ uintptr, message *linuxabi.SnpUserGuestRequest) (uintptr, error) {
		request := message.ReqData.(*linuxabi.SnpExtendedReportReq)
		evidence, err := m.device.Evidence(rand.Reader, request.Data.ReportData[:])
		if err != nil {
			return 0, err
		}
		copy(message.RespData.(*linuxabi.SnpReportRespABI).Data[:], evidence[:reportSize])
		copy(request.Certs, evidence[reportSize:])
		return 0, nil
	}}
	evidence, err := open(t, c).Evidence(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := virtual.NewVerifier(m.root.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	in := attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: time.Now()}
	if _, err := verifier.Verify(t.Context(), in); err != nil {
		t.Error(err)
	}
}

// TestFirmwareWithoutRoom: more certificates than the kernel passes on are no reason to have no report.
func TestFirmwareWithoutRoom(t *testing.T) {
	fake := chip(t, []byte{1})
	c := &counter{}
	c.answer = func(command uintptr, message *linuxabi.SnpUserGuestRequest) (uintptr, error) {
		if command == linuxabi.IocSnpGetExtendedReport {
			message.FwErr = invalidLength
			return 0, unix.EIO
		}
		return fake.Ioctl(command, message)
	}
	evidence, err := open(t, c).Evidence(t.Context(), []byte{1})
	if err != nil || len(evidence) != reportSize || len(c.calls) != 2 {
		t.Errorf("%d bytes after %d calls, %v", len(evidence), len(c.calls), err)
	}
}

func TestFirmwareFails(t *testing.T) {
	for _, test := range []struct {
		name, want string
		answer     func(message *linuxabi.SnpUserGuestRequest) (uintptr, error)
	}{
		{"the firmware's error", "0x16", func(m *linuxabi.SnpUserGuestRequest) (uintptr, error) { m.FwErr = 0x16; return 0, unix.EIO }},
		{"a host that refuses", "0x200000000", func(m *linuxabi.SnpUserGuestRequest) (uintptr, error) { m.FwErr = 2 << 32; return 0, unix.EIO }},
		{"a key that was given up", "Restart the guest", func(*linuxabi.SnpUserGuestRequest) (uintptr, error) { return 0, unix.ENOTTY }},
		{"not permitted", "permission", func(*linuxabi.SnpUserGuestRequest) (uintptr, error) { return 0, unix.EACCES }},
		{"a hypervisor's result", "hypervisor", func(*linuxabi.SnpUserGuestRequest) (uintptr, error) { return 2, nil }},
		{"a status", "status 0x16", func(m *linuxabi.SnpUserGuestRequest) (uintptr, error) {
			m.RespData.(*linuxabi.SnpReportRespABI).Status = 0x16
			return 0, nil
		}},
		{"a report about something else", "other data", func(*linuxabi.SnpUserGuestRequest) (uintptr, error) { return 0, nil }},
	} {
		c := &counter{}
		c.answer = func(_ uintptr, m *linuxabi.SnpUserGuestRequest) (uintptr, error) { return test.answer(m) }
		if evidence, err := open(t, c).Evidence(t.Context(), []byte{1}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %d bytes, %v", test.name, len(evidence), err)
		}
		if len(c.calls) != 1 {
			t.Errorf("%s: %d calls: hosts ration them", test.name, len(c.calls))
		}
	}
}

// TestFirmwareVMPL: the level goes into the request.
func TestFirmwareVMPL(t *testing.T) {
	level := uint(2)
	c := &counter{answer: func(_ uintptr, m *linuxabi.SnpUserGuestRequest) (uintptr, error) {
		if got := m.ReqData.(*linuxabi.SnpExtendedReportReq).Data.Vmpl; got != 2 {
			t.Errorf("VMPL %d", got)
		}
		return 0, unix.EIO
	}}
	d, err := Open(t.Context(), Config{Firmware: c, VMPL: &level})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Evidence(t.Context(), []byte{1}); err == nil {
		t.Error("no error")
	}
}

// TestUsed: entries that the host made wrong take the table away, not the program.
func TestUsed(t *testing.T) {
	table := func(entries ...uint32) []byte { // offset and length of each
		room := make([]byte, 256)
		for i := 0; i < len(entries); i += 2 {
			entry := room[i/2*tableEntry:]
			entry[0] = byte(i + 1)
			binary.LittleEndian.PutUint32(entry[tableGUID:], entries[i])
			binary.LittleEndian.PutUint32(entry[tableGUID+4:], entries[i+1])
		}
		return room
	}
	const most = 1<<32 - 1
	for name, test := range map[string]struct {
		room []byte
		want int
	}{
		"empty":             {table(), 0},
		"one":               {table(48, 52), 100},
		"two, out of order": {table(172, 40, 72, 100), 212},
		"all of the room":   {table(48, 208), 256},
		"one byte too many": {table(48, 209), 0},
		"sums that wrap":    {table(most, most), 0},
		"no length":         {table(48, 0), 48},
		"no place":          {table(0, 0), 48},
		"no end":            {bytes.Repeat([]byte{1}, 256), 0},
		"no room":           {nil, 0},
		"half an entry":     {make([]byte, tableEntry-1), 0},
	} {
		if got := used(test.room); len(got) != test.want {
			t.Errorf("%s: %d bytes, not %d", name, len(got), test.want)
		}
	}
}

// TestFile: the kernel's device, which is not there, or is another.
func TestFile(t *testing.T) {
	if _, err := file("/nonexistent/sev-guest").Ioctl(linuxabi.IocSnpGetReport, &linuxabi.SnpUserGuestRequest{}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no device: %v", err)
	}
	if _, err := file("/dev/null").Ioctl(linuxabi.IocSnpGetReport, "a request"); err == nil {
		t.Error("no request: no error")
	}
	d := &Device{&firmware{calls: file("/dev/null")}}
	if _, err := d.Evidence(t.Context(), []byte{1}); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("another device: %v", err)
	}
	if err := file("/dev/null").check(); err != nil {
		t.Error(err)
	}
}

// TestNeither: a machine that has neither says what each lacks.
func TestNeither(t *testing.T) {
	_, err := Open(t.Context(), Config{})
	if err == nil {
		t.Skip("this is an SEV-SNP guest")
	}
	for _, want := range []string{"tsm: ", DefaultDevice} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
}

// rooms are what a host may write into the room for its certificates.
func rooms() [][]byte {
	table := make([]byte, 2*tableEntry, 4096) // one entry, whose certificate follows the end of the entries
	table[0] = 1
	binary.LittleEndian.PutUint32(table[tableGUID:], 2*tableEntry)
	binary.LittleEndian.PutUint32(table[tableGUID+4:], 1000)
	return [][]byte{slices.Concat(table, make([]byte, 1000)), slices.Concat(table, make([]byte, 4048)), table, make([]byte, 48)}
}

// checkUsed: what the host writes into the room never makes more of it than there is, and what is used is a table.
func checkUsed(t *testing.T, room []byte) {
	got := used(room)
	if len(got) > len(room) || len(got) > 0 && &got[0] != &room[0] {
		t.Errorf("%d bytes of %d", len(got), len(room))
	}
	if again := used(got); got != nil && len(again) != len(got) {
		t.Errorf("the table of %d bytes is one of %d", len(got), len(again))
	}
}

func TestMutationsUsed(t *testing.T) { mutate.Run(t, rooms(), checkUsed) }

func FuzzUsed(f *testing.F) {
	for _, room := range rooms() {
		f.Add(room)
	}
	f.Fuzz(checkUsed)
}

// TestCommands are those of linux/sev-guest.h: _IOWR('S', 0, …) and _IOWR('S', 2, …) of a structure of 32 bytes.
func TestCommands(t *testing.T) {
	report, extended := uint64(linuxabi.IocSnpGetReport), uint64(linuxabi.IocSnpGetExtendedReport)
	if report != 0xc0205300 || extended != 0xc0205302 {
		t.Errorf("%#x, %#x", report, extended)
	}
}
