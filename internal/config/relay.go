package config

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// RelayConfig gives the configuration of the relay library, without its clients, logger and
// observer. A value that Load has accepted is accepted by the relay.
func RelayConfig(c *Config) (relay.Config, error) {
	r := &c.Relay
	delivery, err := relay.ParseDelivery(r.Delivery)
	if err != nil {
		return relay.Config{}, c.Problemf("relay.delivery", "%v", err)
	}
	format, err := relay.ParseFormat(r.Format)
	if err != nil {
		return relay.Config{}, c.Problemf("relay.format", "%v", err)
	}
	onMismatch, err := relay.ParseMismatchPolicy(r.OnMismatch)
	if err != nil {
		return relay.Config{}, c.Problemf("relay.on_mismatch", "%v", err)
	}
	onUnknown, err := relay.ParseUnknownTopicPolicy(r.Topics.OnUnknown)
	if err != nil {
		return relay.Config{}, c.Problemf("relay.topics.on_unknown", "%v", err)
	}
	onChanged, err := relay.ParseTopicChangePolicy(r.Topics.OnChanged)
	if err != nil {
		return relay.Config{}, c.Problemf("relay.topics.on_changed", "%v", err)
	}
	reasons := make([]relay.Reason, 0, len(r.DeadLetter.On)) // not nil: an empty list is meant as such
	for _, reason := range r.DeadLetter.On {
		reasons = append(reasons, relay.Reason(reason))
	}
	trim := relay.Trim{Keep: time.Duration(r.Trim.Keep)}
	if r.Trim.AfterAudit {
		trim.Limit = unknownLimit
	}
	return relay.Config{
		Outbox:     c.Outbox.Name,
		Delivery:   delivery,
		Route:      r.Route,
		Format:     format,
		Source:     r.Source,
		Tombstones: r.Tombstones,
		DeadLetter: relay.DeadLetter{Topic: r.DeadLetter.Topic, On: reasons},
		Topics: relay.Topics{
			OnUnknown: onUnknown, Partitions: r.Topics.Partitions,
			ReplicationFactor: r.Topics.ReplicationFactor, OnChanged: onChanged,
		},
		OnMismatch:           onMismatch,
		Trim:                 trim,
		MaxEntries:           r.MaxEntries,
		MaxBytes:             int(r.MaxBytes),
		MaxInFlight:          int(r.MaxInFlight),
		Lanes:                r.Lanes,
		Linger:               time.Duration(r.Linger),
		TransactionTimeout:   time.Duration(r.TransactionTimeout),
		SessionTimeout:       time.Duration(r.SessionTimeout),
		HousekeepingInterval: time.Duration(r.HousekeepingInterval),
		DrainTimeout:         time.Duration(r.DrainTimeout),
		Assign:               slices.Clone(r.Assign),
		Init:                 r.Init,
		Instance:             r.Instance,
	}, nil
}

// unknownLimit lets nothing be trimmed. Who runs the relay puts what audits have compared in its
// place.
func unknownLimit(context.Context, int) (outbox.EntryID, error) {
	return outbox.EntryID{},
		errors.New("relay.trim.after_audit is set, and nobody says what was audited")
}
