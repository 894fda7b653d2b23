package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/broker/logs"
	"github.com/vouchsafe/vouchsafe/store"
)

// MaxBackupRecipients is how many keys a backup is encrypted to at once: those of an organisation's operators, and they must fit in an entry of
// the log.
const MaxBackupRecipients = 16

// RecordBackup says in the log that a backup is about to be taken, and to whom it is encrypted. The backup itself is the store's
// work, and must not begin before this has returned nil. Operators of all namespaces may.
func (b *Broker) RecordBackup(ctx context.Context, who access.Caller, recipients []string) error {
	if err := authorizeEverywhere(who, access.Operator); err != nil {
		return err
	}
	if len(recipients) == 0 || len(recipients) > MaxBackupRecipients {
		return invalid("a backup for %d recipients, not 1 to %d", len(recipients), MaxBackupRecipients)
	}
	for _, r := range recipients {
		// A post-quantum age recipient has about 2000 characters.
		if r == "" || len(r) > 2500 || strings.ContainsFunc(r, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return invalid("recipient %q is not an age recipient", clip(r))
		}
	}
	return b.commit(ctx, who, store.SysNamespace, Event{Type: EventBackup, Object: strings.Join(recipients, " ")})
}

// RecordDataKeyRotation says in the log that the store's data key is about to be replaced, which is the seal's work and must not begin
// before this has returned nil. Operators of all namespaces may.
func (b *Broker) RecordDataKeyRotation(ctx context.Context, who access.Caller) error {
	if err := authorizeEverywhere(who, access.Operator); err != nil {
		return err
	}
	return b.commit(ctx, who, store.SysNamespace, Event{Type: EventDataKeyRotate})
}

// SigningKeys describes the keys that sign tokens, replies and checkpoints. Operators and auditors of all namespaces may.
func (b *Broker) SigningKeys(_ context.Context, who access.Caller) ([]keys.Info, error) {
	if err := authorizeEverywhere(who, access.Operator, access.Auditor); err != nil {
		return nil, err
	}
	return b.keys.List(), nil
}

// Audit returns an audit log for reading, the one that this broker appends to for OwnLog. It has entries of all namespaces, so auditors of all of them may.
func (b *Broker) Audit(ctx context.Context, who access.Caller, log int) (*audit.Log, error) {
	if err := authorizeEverywhere(who, access.Auditor); err != nil {
		return nil, err
	}
	return b.LogOf(ctx, log)
}

// OwnLog stands for the log that the broker asked appends to.
const OwnLog = -1

// LogOf returns a log, whose checkpoint anybody may see.
func (b *Broker) LogOf(ctx context.Context, log int) (*audit.Log, error) {
	if log == OwnLog {
		return b.logs.Own(), nil
	}
	found, err := b.logs.Log(ctx, log)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound("there is no audit log %d", log)
	}
	if err != nil {
		return nil, asError(err)
	}
	return found, nil
}

// OwnSlot returns the number of the log that this broker appends to: 0 where it has the store to itself.
func (b *Broker) OwnSlot() int { return b.logs.Slot() }

// LogKey returns the text of the key that a log's checkpoints verify with.
func (b *Broker) LogKey(log int) (string, error) {
	if log == OwnLog {
		log = b.logs.Slot()
	}
	if log < 0 || log > logs.MaxSlots {
		return "", notFound("there is no audit log %d", log)
	}
	key, err := b.keys.LogOf(log)
	if err != nil {
		return "", asError(err)
	}
	return key.Text, nil
}

// AuditLogs describes the logs of the store, with their keys. Auditors of all namespaces may.
func (b *Broker) AuditLogs(ctx context.Context, who access.Caller) ([]logs.Info, error) {
	if err := authorizeEverywhere(who, access.Auditor); err != nil {
		return nil, err
	}
	list, err := b.logs.List(ctx, b.keys)
	if err != nil {
		return nil, asError(err)
	}
	return list, nil
}
