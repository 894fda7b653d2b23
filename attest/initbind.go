package attest

import (
	"bytes"
	"fmt"
)

// Field returns what a register of size bytes holds that carries the document: its digest, cut off or filled with zeros. A digest that is
// not as long as its algorithm makes it is an error; an empty one would otherwise be carried by every guest that has no init-data.
func (i *InitData) Field(size int) ([]byte, error) {
	length := map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}[i.Algorithm]
	if length == 0 || len(i.Digest) != length {
		return nil, fmt.Errorf("init-data with a digest of %d bytes by %.20q", len(i.Digest), i.Algorithm)
	}
	field := make([]byte, size)
	copy(field, i.Digest)
	return field, nil
}

// BindInitData fills in the claims about the init-data document that was presented, nil when none was: whether the register carries
// it, and only if it does, what is in it. A document that is not the one carried is not a refusal here; the policy baseline judges it.
func (c *Claims) BindInitData(register []byte, init *InitData) {
	if init == nil {
		return
	}
	want, err := init.Field(len(register))
	bound := err == nil && bytes.Equal(want, register)
	c.InitDataBound = Ptr(bound)
	if bound {
		c.InitDataClaims = init.Data
	}
}
