package hygon_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/hygon"
	"github.com/vouchsafe/vouchsafe/attest/csv"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// item is the name of a chip's certificates.
func item(tb testing.TB) collateral.Name {
	tb.Helper()
	name, err := collateral.ParseName("hygon/hsk_cek/KPA1")
	if err != nil {
		tb.Fatal(err)
	}
	return name
}

func TestNew(t *testing.T) {
	if _, err := hygon.New(nil); err == nil {
		t.Error("without a way to verify")
	}
	wrong := errors.New("wrong")
	for _, verdict := range []error{nil, wrong} {
		p, err := hygon.New(func(name string, e *attest.Endorsement) error {
			if name != "hygon/hsk_cek/KPA1" || string(e.Data) != "x" {
				t.Errorf("asked about %s, %q", name, e.Data)
			}
			return verdict
		})
		if err != nil || p.Source != nil || p.Always != nil || p.Vendor != collateral.Hygon {
			t.Errorf("%+v, %v", p, err)
		}
		if _, err := p.Check(item(t), &attest.Endorsement{Data: []byte("x")}, time.Now()); !errors.Is(err, verdict) {
			t.Errorf("%v, want %v", err, verdict)
		}
	}
}

// seeds are laid out as the certificates of a HSK and a CEK (package csv has the layout), with a key that anyone can compute. Hygon signed none: those of a real
// chip are not among the test data.
func seeds(tb testing.TB) [][]byte {
	tb.Helper()
	const (
		hskSize, hskUsage, hskKey           = 832, 36, 64
		cekSize, cekUsage, cekAlgo, cekKey  = 2084, 8, 12, 16
		sm2, pointX, pointY, identity, size = 3, 4, 4 + 72, 4 + 2*72, 32
	)
	// The generator of the curve (GB/T 32918.5), coordinates little-endian.
	generator, err := hex.DecodeString("32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7" + "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0")
	if err != nil {
		tb.Fatal(err)
	}
	x, y := generator[:size], generator[size:]
	slices.Reverse(x)
	slices.Reverse(y)
	both := make([]byte, hskSize+cekSize)
	for _, at := range []int{hskKey, hskSize + cekKey} {
		both[at], both[at+identity], both[at+identity+2] = sm2, 1, 'x'
		copy(both[at+pointX:], x)
		copy(both[at+pointY:], y)
	}
	binary.LittleEndian.PutUint32(both[hskUsage:], 0x13)
	binary.LittleEndian.PutUint32(both[hskSize+cekUsage:], 0x1004)
	binary.LittleEndian.PutUint32(both[hskSize+cekAlgo:], 4)
	return [][]byte{both, bytes.Repeat([]byte{0xff}, len(both)), both[:len(both)-1]}
}

// TestSeeds: the first of them is refused only for who signed it.
func TestSeeds(t *testing.T) {
	err := csv.CheckCollateral(item(t).String(), &attest.Endorsement{Data: seeds(t)[0]})
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != attest.CodeCertUntrusted {
		t.Error(err)
	}
}

// forged fails when the production's check keeps what Hygon did not sign.
func forged(tb testing.TB) func(t *testing.T, data []byte) {
	tb.Helper()
	p, err := hygon.New(csv.CheckCollateral)
	if err != nil {
		tb.Fatal(err)
	}
	name := item(tb)
	return func(t *testing.T, data []byte) {
		if _, err := p.Check(name, &attest.Endorsement{Data: data}, time.Now()); err == nil {
			t.Errorf("kept: %x", data)
		}
	}
}

func TestMutations(t *testing.T) { mutate.Run(t, seeds(t), forged(t)) }

func FuzzCheck(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(forged(f))
}
