package outbox

import (
	"context"
	"fmt"
	"time"
)

// Config of a Writer. Only Outbox is required; the zero value of every other field means the
// default that it names.
type Config struct {
	// Outbox is the name of the outbox; see ValidateName.
	Outbox string

	// MaxPayload is the largest payload of an event in bytes. Default DefaultMaxPayload, 959,040: what
	// Kafka's default max.message.bytes takes together with the largest headers. Raise it only if the
	// topics take more. The CloudEvents structured format makes a payload that is not JSON a third
	// larger on its way.
	MaxPayload int

	// MaxHeaders and MaxHeaderBytes bound the headers of an event: how many, and the bytes of names
	// and values together. Defaults 64 and 32 KiB.
	MaxHeaders     int
	MaxHeaderBytes int

	// MaxEvents and MaxBytes bound the events of one transaction, which relays deliver as a whole.
	// Defaults 1,000 and 8 MiB (payloads, headers and other texts); a relay takes 10,000 and 16 MiB by
	// default.
	MaxEvents int
	MaxBytes  int

	// MaxLength is the number of entries in a shard's stream above which transactions are refused with
	// ErrOutboxFull. It is looked at once every TypeCheckInterval, so a busy stream can grow beyond it
	// by what is appended meanwhile. Default: no limit.
	MaxLength int64

	// RequireSameSlot makes the writer refuse state keys outside the hash slot of the shard's stream
	// on every server, as it always does with a redis.ClusterClient. Set it in tests on a single
	// server when production has a cluster.
	RequireSameSlot bool

	// TypeCheckInterval is how long the writer relies on what it knows about a shard's stream: its
	// length, and that its key holds a stream. Every successful append proves the latter; else the
	// writer asks with TYPE. If the key is replaced by another type within that time atomicity breaks,
	// see PartialError. Default 1 s. Negative: ask before every transaction, which costs a round trip
	// each.
	TypeCheckInterval time.Duration

	// LayoutInterval is how long the writer relies on the layout that it has read. Default 1 min.
	// Negative: read it before every transaction.
	LayoutInterval time.Duration

	// IdempotencyTTL is how long an idempotency key is remembered, at least a millisecond. A
	// repetition after that appends again. Default 24 h.
	IdempotencyTTL time.Duration

	// Attempts bounds how often Tx runs its function because watched keys were changed. Default 10.
	// The pause between attempts is a few milliseconds, doubles, and has jitter.
	Attempts int

	// Wait makes Tx return only when replicas or disks have the transaction. Default: when the server
	// has it in memory.
	Wait Wait

	// TraceContext gives the W3C traceparent and tracestate of a context, empty if it has none. It is
	// asked once for a transaction, and only if WithTraceParent was not used. With OpenTelemetry:
	//
	//	carrier := propagation.MapCarrier{}
	//	propagation.TraceContext{}.Inject(ctx, carrier)
	//	return carrier["traceparent"], carrier["tracestate"]
	TraceContext func(context.Context) (traceparent, tracestate string)
}

// withDefaults returns the configuration as it is used, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if err := ValidateName(c.Outbox); err != nil {
		return c, err
	}
	for _, n := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"MaxPayload", &c.MaxPayload, DefaultMaxPayload},
		{"MaxHeaders", &c.MaxHeaders, DefaultMaxHeaders},
		{"MaxHeaderBytes", &c.MaxHeaderBytes, DefaultMaxHeaderBytes},
		{"MaxEvents", &c.MaxEvents, DefaultMaxEvents},
		{"MaxBytes", &c.MaxBytes, DefaultMaxBytes},
		{"Attempts", &c.Attempts, 10},
	} {
		if *n.value < 0 {
			return c, fmt.Errorf("outbox.Config: %s is %d, want 0 for the default of %d or more", n.name,
				*n.value, n.zero)
		}
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	if c.MaxLength < 0 {
		return c, fmt.Errorf("outbox.Config: MaxLength is %d, want 0 for no limit or more", c.MaxLength)
	}
	if c.TypeCheckInterval == 0 {
		c.TypeCheckInterval = time.Second
	}
	if c.LayoutInterval == 0 {
		c.LayoutInterval = time.Minute
	}
	if c.IdempotencyTTL == 0 {
		c.IdempotencyTTL = 24 * time.Hour
	}
	if c.IdempotencyTTL < time.Millisecond {
		return c, fmt.Errorf(
			"outbox.Config: IdempotencyTTL is %v, want 0 for the default of 24h or at least 1ms",
			c.IdempotencyTTL)
	}
	var err error
	if c.Wait, err = c.Wait.withDefaults(); err != nil {
		return c, fmt.Errorf("outbox.Config: %w", err)
	}
	return c, nil
}

func (c Config) limits() limits {
	return limits{
		payload: c.MaxPayload, headers: c.MaxHeaders, headerBytes: c.MaxHeaderBytes,
		events: c.MaxEvents, bytes: c.MaxBytes,
	}
}
