package transit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// Key is what Vault says of a transit key. It is not the key.
type Key struct {
	Name                 string `json:"name"`
	Type                 string `json:"type"`
	Derived              bool   `json:"derived"`
	Convergent           bool   `json:"convergent_encryption"`
	Exportable           bool   `json:"exportable"`
	PlaintextBackup      bool   `json:"allow_plaintext_backup"`
	DeletionAllowed      bool   `json:"deletion_allowed"`
	SoftDeleted          bool   `json:"soft_deleted"`
	Imported             bool   `json:"imported_key"`
	LatestVersion        int    `json:"latest_version"`
	MinDecryptionVersion int    `json:"min_decryption_version"`
	MinEncryptionVersion int    `json:"min_encryption_version"`
}

// Types are the types of key that can seal: those that bind what they encrypt to associated data.
func Types() []string { return []string{"aes256-gcm96", "chacha20-poly1305", "aes128-gcm96"} }

// Inspect asks Vault about the key. Errors wrap ErrNoKey or store.ErrUnavailable.
func (s *Seal) Inspect(ctx context.Context) (Key, error) {
	var k Key
	err := s.ask(ctx, "keys", nil, &k)
	switch {
	case errors.Is(err, vaultconn.ErrNotFound):
		return Key{}, fmt.Errorf("transit: %w: %s: make it with \"vault write -f %s/keys/%s\"", ErrNoKey, s.KeyID(), s.mount, s.key)
	case err != nil:
		return Key{}, err
	case k.Type == "" || k.LatestVersion < 1:
		return Key{}, s.failed("keys", fmt.Errorf("%w: the answer does not describe a transit key", store.ErrUnavailable))
	}
	return k, nil
}

// Check says why a key cannot seal: its error wraps ErrType.
func (k *Key) Check() error {
	switch {
	case !slices.Contains(Types(), k.Type):
		return fmt.Errorf("%w: it is of type %.40s, and must be of %s", ErrType, k.Type, strings.Join(Types()[:2], " or "))
	case k.Convergent:
		return fmt.Errorf("%w: it encrypts convergently, so that who sees ciphertexts sees which are of the same text", ErrType)
	case k.Derived:
		return fmt.Errorf("%w: it is a derived key, which needs a context that a seal does not have", ErrType)
	case k.SoftDeleted:
		return fmt.Errorf("%w: it is marked as deleted", ErrType)
	}
	return nil
}

// Warnings says what about the key makes the seal weaker than it could be.
func (k *Key) Warnings() []string {
	var list []string
	if k.Exportable {
		list = append(list, "it is exportable: who may export it opens the store without Vault, which then does not see it")
	}
	if k.PlaintextBackup {
		list = append(list, "it allows a backup in plain: who has one opens the store without Vault")
	}
	if k.DeletionAllowed {
		list = append(list, "it may be deleted, and everything in the store with it")
	}
	if k.Imported {
		list = append(list, "it was imported: whoever made it may still have it")
	}
	return list
}
