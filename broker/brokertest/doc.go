// Package brokertest runs a whole broker inside a test: for this project's own tests and for those of anyone whose workload fetches its
// secrets from one.
//
//	b := brokertest.Start(t, brokertest.Config{})
//	b.PutSecret("payments/db/password", []byte("hunter2"))
//	b.ApplyPolicy(brokertest.AllowVirtual("payments/db/*"))
//	workload, err := client.New(client.Config{URL: b.URL, CA: b.CA, Collector: virtualdevice.New(b.Device)})
//	secrets, err := workload.Fetch(ctx, "payments/db/password")
//
// Nothing in it is a mock: a store file in the test's temporary directory, sealed with a key file, with its audit log; a TLS
// server; and a virtual TEE, whose root only this broker trusts. It ends with the test.
//
// The store is made for development, and no production server opens it.
package brokertest
