package collateral

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Publisher is how the items of one vendor are checked and fetched.
type Publisher struct {
	Vendor Vendor
	Check  Check  // needed: what does not pass it is not kept, wherever it comes from
	Source Source // nil: nothing is fetched from this vendor

	// Always are names that are wanted from the start, such as revocation lists.
	Always []string

	// Interval is the least time between two requests, and Workers how many are under way at once: 1 s and 1 when zero.
	Interval time.Duration
	Workers  int
}

// Check says whether an item is what its name says and, as far as can be known, its vendor's: nil when it may be kept. It judges neither the age
// nor the end of the item, which it returns; but what is from the future is an error.
type Check func(name Name, e *attest.Endorsement, now time.Time) (Validity, error)

// Validity is what an item says about its time.
type Validity struct {
	Issued  time.Time // when it was made, by which older and newer are told apart; zero when it does not say
	Expires time.Time // when it ends or its next is due; zero when it does not say
}

// Source asks a vendor for an item.
type Source interface {
	// Fetch gets one item. An error that is a *[FetchError] says more about what to do next.
	Fetch(ctx context.Context, name Name) (*Fetched, error)
}

// Fetched is what a vendor answered.
type Fetched struct {
	Data  []byte
	Chain []byte // PEM, nil where the vendor has none
	URL   string
}

// Result is how a request ended. There are few, so they can be labels of metrics.
type Result string

// The results of requests.
const (
	ResultOK          Result = "ok"          // a new item
	ResultUnchanged   Result = "unchanged"   // the item that was at hand
	ResultOlder       Result = "older"       // an item from before the one at hand, which stays
	ResultNotFound    Result = "not_found"   // the vendor says that there is none
	ResultThrottled   Result = "throttled"   // the vendor asks to come back later
	ResultFailed      Result = "failed"      // no connection, or an error of the vendor's
	ResultTimeout     Result = "timeout"     // no answer in time
	ResultInvalid     Result = "invalid"     // what came is not the item, has expired, or does not verify
	ResultFromShared  Result = "shared"      // another replica had it
	ResultNotFetched  Result = "unsupported" // the vendor does not publish such items, or what is needed to ask is not configured
	ResultNotKeepable Result = "not_kept"    // it could not be written

	// resultElsewhere is no request: another replica makes it.
	resultElsewhere Result = "elsewhere"
)

// Results returns every result.
func Results() []Result {
	return []Result{
		ResultOK, ResultUnchanged, ResultOlder, ResultNotFound, ResultThrottled, ResultFailed, ResultTimeout, ResultInvalid,
		ResultFromShared, ResultNotFetched, ResultNotKeepable,
	}
}

// FetchError is why an item was not fetched.
type FetchError struct {
	Result     Result
	URL        string
	Status     int           // of HTTP, 0 where there was none
	RetryAfter time.Duration // that the vendor asked for; 0 when it did not
	Err        error
}

func (e *FetchError) Error() string {
	switch {
	case e.URL == "":
		return e.Err.Error()
	case e.Status != 0:
		return fmt.Sprintf("%s answered with status %d", e.URL, e.Status)
	default:
		return fmt.Sprintf("%s: %v", e.URL, e.Err)
	}
}

func (e *FetchError) Unwrap() error { return e.Err }

// Unsupported makes the error for an item that a vendor does not publish.
func Unsupported(format string, args ...any) error {
	return &FetchError{Result: ResultNotFetched, Err: fmt.Errorf(format, args...)}
}

// Invalid makes the error for an answer that cannot be the item.
func Invalid(url, format string, args ...any) error {
	return &FetchError{Result: ResultInvalid, URL: url, Err: fmt.Errorf(format, args...)}
}

// resultOf says how a request that failed ended.
func resultOf(err error) Result {
	var f *FetchError
	switch {
	case errors.As(err, &f):
		return f.Result
	case errors.Is(err, context.DeadlineExceeded):
		return ResultTimeout
	default:
		return ResultFailed
	}
}
