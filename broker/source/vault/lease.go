package vault

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// maxLooked is how many leases of one path are looked at for those of a broker that crashed. There are more only where something goes wrong.
const maxLooked = 1000

// Revoke implements source.Issuer. Vault answers once it is done: until then what was issued may still work, and a failure is a failure.
func (d *Dynamic) Revoke(ctx context.Context, handle string) error {
	return revoke(ctx, d.conn, handle)
}

func revoke(ctx context.Context, conn *vaultconn.Conn, handle string) error {
	request := vaultconn.Request{
		Method: http.MethodPut, Path: "sys/leases/revoke", Body: map[string]any{"lease_id": handle, "sync": true},
	}
	if _, err := conn.Do(ctx, request); err != nil {
		return failure(err, request)
	}
	return nil
}

// Issued implements source.Issuer. It needs the right to list sys/leases/lookup, which is a root path of Vault.
func (d *Dynamic) Issued(ctx context.Context, place source.Place, from, to time.Time) ([]string, error) {
	list := vaultconn.Request{Method: "LIST", Path: "sys/leases/lookup/" + place.Name}
	names, err := d.conn.List(ctx, list.Path)
	if err != nil {
		return nil, failure(err, list)
	}
	if len(names) > maxLooked {
		return nil, &source.Failure{Err: source.ErrRejected, Detail: what(list) + ": there are too many leases to look at"}
	}
	prefix, err := url.PathUnescape(place.Name) // the handle has the path as it is
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			continue // of another path below it
		}
		handle := prefix + "/" + name
		request := vaultconn.Request{Method: http.MethodPut, Path: "sys/leases/lookup", Body: map[string]string{"lease_id": handle}}
		answer, err := d.conn.Do(ctx, request)
		if errors.Is(err, vaultconn.ErrNotFound) || errors.Is(err, vaultconn.ErrRejected) {
			continue // it has ended since
		}
		if err != nil {
			return nil, failure(err, request)
		}
		var lease struct {
			Issued time.Time `json:"issue_time"`
		}
		if answer == nil || json.Unmarshal(answer.Data, &lease) != nil {
			return nil, unreadable(request)
		}
		if !lease.Issued.Before(from) && !lease.Issued.After(to) {
			found = append(found, handle)
		}
	}
	return found, nil
}
