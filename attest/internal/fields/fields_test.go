package fields_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
)

func TestNumbersAreInTheOrderGiven(t *testing.T) {
	data := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'x', 'y'}
	for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
		r := fields.NewReader(data, order)
		if r.U8() != 1 || r.U16() != order.Uint16(data[1:]) || r.U32() != order.Uint32(data[3:]) || r.U64() != order.Uint64(data[7:]) {
			t.Errorf("%v: a number is wrong", order)
		}
		if r.Complete() || string(r.Rest()) != "xy" {
			t.Errorf("%v: %q is left", order, r.Rest())
		}
		if string(r.Bytes(2)) != "xy" || !r.Complete() {
			t.Errorf("%v: not complete at the end", order)
		}
	}
}

func TestAReadPastTheEndFailsForGood(t *testing.T) {
	for name, read := range map[string]func(*fields.Reader){
		"bytes":        func(r *fields.Reader) { r.Bytes(4) },
		"longest size": func(r *fields.Reader) { r.Bytes(1<<32 - 1) },
		"number of 4":  func(r *fields.Reader) { r.U32() },
		"number of 8":  func(r *fields.Reader) { r.U64() },
	} {
		t.Run(name, func(t *testing.T) {
			r := fields.NewReader([]byte{1, 2, 3}, binary.BigEndian)
			read(r)
			if !r.Failed() || r.Complete() {
				t.Error("it did not fail")
			}
			if r.U8() != 0 || r.U16() != 0 || r.Bytes(1) != nil || r.Bytes(0) != nil {
				t.Error("it reads on, from within a field")
			}
		})
	}
}

func TestAppendingToBytesLeavesTheInput(t *testing.T) {
	data := []byte("abcd")
	_ = append(fields.NewReader(data, binary.BigEndian).Bytes(2), "XX"...)
	if !bytes.Equal(data, []byte("abcd")) {
		t.Errorf("the input is %q now", data)
	}
}
