package vaultplugin

import (
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/logicalstore"
	"github.com/vouchsafe/vouchsafe/store"
)

// SealWrapped are the paths of a mount's storage that hold the values of secrets and the keys that sign, which Vault wraps by its seal as well where it
// can: logical.Paths.SealWrapStorage. None of them is read here.
func SealWrapped() []string {
	return logicalstore.Paths(store.Key(store.DefaultNamespace, "secret-value")+"/", keys.Records)
}
