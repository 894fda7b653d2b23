package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
)

// adminKeySettings is a key of an administrator who signs tokens himself.
type adminKeySettings struct {
	Name      string   `yaml:"name"`
	PublicKey string   `yaml:"public_key"`
	Roles     []string `yaml:"roles"`
	Issuer    string   `yaml:"issuer"`
	Audience  string   `yaml:"audience"`
}

// adminKeys reads the keys that the settings name.
func (s *kbsSettings) adminKeys() ([]kbs.AdminKey, error) {
	var keys []kbs.AdminKey
	for i, a := range s.AdminKeys {
		text, err := readInput(nil, a.PublicKey, maxSettings)
		if err != nil {
			return nil, fmt.Errorf("kbs.admin_keys[%d].public_key: %w", i, err)
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("kbs.admin_keys[%d].public_key: %s holds no PEM", i, a.PublicKey)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("kbs.admin_keys[%d].public_key: %s: %w", i, a.PublicKey, err)
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("kbs.admin_keys[%d].public_key: %s is not an Ed25519 key, as the key broker's administrators have", i, a.PublicKey)
		}
		var roles []access.Role
		for _, name := range a.Roles {
			role, err := access.ParseRole(name)
			if err != nil {
				return nil, fmt.Errorf("kbs.admin_keys[%d].roles: %w", i, err)
			}
			roles = append(roles, role)
		}
		keys = append(keys, kbs.AdminKey{Name: a.Name, Key: key, Roles: access.SetOf(roles...), Issuer: a.Issuer, Audience: a.Audience})
	}
	return keys, nil
}
