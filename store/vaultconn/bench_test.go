package vaultconn_test

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// BenchmarkRead reads a KV secret, one after the other and together, over a Conn and over HashiCorp's client, which neither bounds nor checks anything.
func BenchmarkRead(b *testing.B) {
	s := vaulttest.Shared(b)
	mount := s.Mount(b, "kv", map[string]string{"version": "2"})
	s.Write(b, mount+"/data/x", map[string]any{"data": map[string]any{"value": "0123456789abcdef"}})
	conn, client := s.Conn(b), s.Client(b)
	request := vaultconn.Request{Method: "GET", Path: vaultconn.Path(mount, "data", "x")}
	for name, read := range map[string]func() error{
		"conn": func() error { _, err := conn.Do(b.Context(), request); return err },
		"bare": func() error {
			_, err := client.Logical().ReadWithContext(b.Context(), mount+"/data/x")
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/together", func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := read(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
