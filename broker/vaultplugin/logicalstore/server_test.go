package logicalstore_test

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest/pluginstore"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// TestStoreInVault holds the store against the contract on the storage that a real server gives to a plugin which it runs.
func TestStoreInVault(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	storetest.Run(t, func(t *testing.T) store.Store { return pluginstore.New(t).Open() })
}
