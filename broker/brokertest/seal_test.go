package brokertest_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal/transit"
)

// TestRotationUnderLoad rotates everything that seals the store while workloads fetch secrets and an administrator writes some: the transit key in Vault, what wraps
// the root key, and the data keys with all records. Not one release may fail, and a
// write only by a conflict, which says to repeat it.
func TestRotationUnderLoad(t *testing.T) {
	server := vaulttest.Shared(t)
	engine := server.Mount(t, "transit", nil)
	server.Write(t, engine+"/keys/k", nil)
	key, err := transit.New(transit.Config{Conn: server.Conn(t), Mount: engine, Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.Start(t, brokertest.Config{})
	if err := b.Data.Store.Reseal(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	b.PutSecret("payments/db/password", []byte("hunter2"))
	b.ApplyPolicy(brokertest.AllowVirtual("payments/db/*"))

	const workloads = 4
	var (
		stop     atomic.Bool
		running  sync.WaitGroup
		released atomic.Int64
		written  atomic.Int64

		// A record that is encrypted again between an administrator's reading and writing it has another version, as after any write of somebody else.
		conflicts atomic.Int64
	)
	for range workloads {
		workload, err := client.New(client.Config{URL: b.URL, CA: b.CA, Collector: virtualdevice.New(b.Device)})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			for !stop.Load() {
				secrets, err := workload.Fetch(context.WithoutCancel(t.Context()), "payments/db/password")
				if err != nil || len(secrets) != 1 || string(secrets[0].Value) != "hunter2" {
					t.Errorf("release %d: %v, %v", released.Load(), secrets, err)
					return
				}
				released.Add(1)
			}
		})
	}
	running.Go(func() {
		for !stop.Load() {
			_, err := b.Broker.PutSecret(context.WithoutCancel(t.Context()), b.Admin, store.DefaultNamespace, broker.PutSecret{
				Name: "payments/other/key", Value: []byte("x"), ContentType: "text/plain", Activate: true,
			})
			var refused *broker.Error
			switch {
			case err == nil:
				written.Add(1)
			case errors.As(err, &refused) && refused.Code == broker.CodeConflict:
				conflicts.Add(1)
			default:
				t.Errorf("write %d: %v", written.Load(), err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	ctx := t.Context()
	for round := range 5 {
		before := released.Load()
		server.Write(t, engine+"/keys/k/rotate", nil)
		renewed, err := b.Data.Store.RenewSeal(ctx)
		if err != nil || !renewed {
			t.Errorf("round %d: renewed %v, %v", round, renewed, err)
		}
		if err := b.Data.Store.Rotate(ctx); err != nil {
			t.Errorf("round %d: rotate: %v", round, err)
		}
		if _, err := b.Data.Store.Rewrap(ctx, nil); err != nil {
			t.Errorf("round %d: rewrap: %v", round, err)
		}
		// What is older than the newest version is not needed any more.
		server.Write(t, engine+"/keys/k/config", map[string]any{"min_decryption_version": round + 2})
		for end := time.Now().Add(20 * time.Second); released.Load() < before+workloads && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	stop.Store(true)
	running.Wait()
	if released.Load() < 5*workloads || written.Load() < 5 {
		t.Errorf("only %d released and %d written", released.Load(), written.Load())
	}
	t.Logf("%d released, %d written, %d to be repeated", released.Load(), written.Load(), conflicts.Load())
}
