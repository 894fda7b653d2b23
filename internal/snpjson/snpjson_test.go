package snpjson

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestMutationsEncode reads what Encode wrote, and gets the report's bytes back.
func TestMutationsEncode(t *testing.T) {
	root, err := virtual.NewRoot(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	device, err := root.NewDevice(rand.Reader, time.Now(), virtual.Config{Measurement: [48]byte{1, 2, 3}, GuestSVN: 7})
	if err != nil {
		t.Fatal(err)
	}
	extended, err := device.Evidence(rand.Reader, make([]byte, 48))
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(extended)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := snp.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ev.Raw[:], extended[:snp.ReportSize]) {
		t.Error("another report came back")
	}
	if want, err := snp.Parse(extended); err != nil || !bytes.Equal(ev.Certificates.VCEK, want.Certificates.VCEK) {
		t.Error("another certificate came back")
	}
	if _, err := Encode(extended[:100]); err == nil {
		t.Error("half a report was encoded")
	}
	// Of no report is another written than it is, as far as guests' fields hold it.
	mutate.Run(t, [][]byte{extended}, func(t *testing.T, input []byte) {
		text, err := Encode(input)
		if err != nil {
			return
		}
		if ev, err := snp.Parse(text); err == nil && !bytes.Equal(ev.Raw[:], input[:snp.ReportSize]) {
			t.Errorf("another report came back of %x", input)
		}
	})
}
