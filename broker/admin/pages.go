package admin

import (
	"iter"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// All yields the items of every page of a listing, and ends with the first error. read reads the page after the one whose Next is given,
// the first for "":
//
//	for secret, err := range admin.All(func(after string) (wire.List[broker.SecretInfo], error) {
//		return client.Secrets(ctx, wire.SecretsQuery{Page: wire.Page{After: after}})
//	}) {
func All[T any](read func(after string) (wire.List[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		after := ""
		for {
			page, err := read(after)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			// A broker that repeats itself must not hold its client for ever.
			if page.Next == "" || page.Next == after {
				return
			}
			after = page.Next
		}
	}
}
