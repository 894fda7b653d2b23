package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/store"
)

// commit makes an administrative change durable with its entry in the audit log. It completes the event with who, where and when.
func (b *Broker) commit(ctx context.Context, who access.Caller, namespace string, event Event, writes ...store.Write) error {
	event.Format, event.Time, event.Namespace = eventFormat, b.now(), namespace
	event.Actor = actor(who)
	line, err := encode(event)
	if err != nil {
		return asError(err)
	}
	_, err = b.logs.Append(ctx, line, writes...)
	b.writes.wrote(err)
	if err != nil {
		b.recordUnmade(ctx, event, err)
		return asError(err)
	}
	b.logger.InfoContext(ctx, "changed", "event", event.Type, "namespace", namespace, "object", event.Object,
		"version", event.Version, "actor", who.Name, "token", who.Token)
	return nil
}

func actor(who access.Caller) *Actor {
	a := &Actor{Token: who.Token, Name: who.Name, Subject: who.Subject, Via: who.Via, Remote: who.Remote}
	if a.Subject == a.Name {
		a.Subject = ""
	}
	return a
}

// recordUnmade adds to the log that what an entry says was not done, where that is certain: another change came first, on a store where
// the entry is written before the change. What fails otherwise may have been done; then nothing more is said.
func (b *Broker) recordUnmade(ctx context.Context, event Event, cause error) {
	var unmade *audit.UnmadeError
	if !errors.As(cause, &unmade) || !errors.Is(cause, store.ErrConflict) {
		return
	}
	line, err := encode(Event{
		Format: eventFormat, Type: EventUnmade, Time: b.now(), Namespace: event.Namespace, Actor: event.Actor, Object: event.Object,
		Entry: &unmade.Index,
	})
	if err == nil {
		_, err = b.logs.Append(ctx, line)
	}
	if err != nil {
		b.logger.WarnContext(ctx, "a change met another, and the log says that it was made", "event", event.Type, "entry", unmade.Index, "cause", err)
	}
}

// commitAndTidy is commit for a change that leaves something behind which nothing leads to any more. On an atomic store that goes in the same Apply;
// on another afterwards, as well as can be: it must not be in the way of the change.
func (b *Broker) commitAndTidy(ctx context.Context, who access.Caller, namespace string, event Event, writes, garbage []store.Write) error {
	if b.store.Atomic() {
		return b.commit(ctx, who, namespace, event, append(writes, garbage...)...)
	}
	if err := b.commit(ctx, who, namespace, event, writes...); err != nil {
		return err
	}
	for _, w := range garbage {
		if err := b.store.Apply(ctx, w); err != nil {
			b.logger.WarnContext(ctx, "a record that nothing leads to could not be removed", "key", w.Key, "cause", err)
		}
	}
	return nil
}

// MaxNamespace is the longest name of a namespace in bytes; tokens have the same limit.
const MaxNamespace = 63

// CheckNamespace returns an *Error unless name can be a namespace: one segment of 1 to MaxNamespace bytes of the characters of a secret's name,
// and not "sys".
func CheckNamespace(name string) error {
	if name == store.SysNamespace || len(name) > MaxNamespace || strings.Contains(name, "/") || policy.CheckPath(name) != nil {
		return invalid("%q cannot be a namespace", clip(name))
	}
	return nil
}
