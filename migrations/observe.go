package migrations

import (
	"context"
	"fmt"
)

// observed is what both servers have, as far as the layout is concerned. Planning and drift are
// decided from it alone, without a socket.
type observed struct {
	layout layoutState
	redis  redisVersion // the oldest server of the client's

	streams []streamState // index = shard
	beyond  bool          // a stream exists for the shard after the last one wanted

	// Only where version 2 or later is concerned.
	kafka  kafkaState
	relays string                // why relays are believed to run; only learnt where that matters
	topics map[string]topicState // by name; one that does not exist is absent
}

// layoutState is the layout hash as it was read.
type layoutState struct {
	exists bool
	fault  Problem // WrongType or UnreadableLayout
	detail string  // what is wrong, where fault is set

	version, format, shards int
	created                 int64 // Unix ms, by the clock of the machine that created it; 0 if absent
}

// streamState is one shard's stream.
type streamState struct {
	kind  string // reply of TYPE: "none", "stream", or another type
	group bool   // the consumer group exists
	used  bool   // it has had an entry, whether or not that is still there
}

// kafkaState is what was learnt of the brokers.
type kafkaState struct {
	noTransactions string // the broker that lacks them, "" = all that answered have them
}

// topicState is one Kafka topic.
type topicState struct {
	partitions int
	led        int // partitions that have a leader
	policy     string
	maxMessage int  // bytes; 0 = the broker does not say
	records    bool // something was ever written to it; only learnt for the positions topic
}

// observe reads what is needed to judge the layout: of the given version, or of the one that is
// reached if version is 0. Nothing but the layout hash and the server's version is looked at where
// those cannot be worked on.
//
// All that it returns belongs to one state of the layout: if that changed while the rest was read,
// all is read again. Read once, two migrations of one outbox at the same time, with different
// numbers of shards, could go: this one sees no layout; the other claims the layout and creates its
// topics; this one sees topics with the wrong number of partitions and advises to delete them. Read
// in the opposite order: no topics; the other creates them and records version 2; this one sees
// version 2 and says that the positions are lost.
func (m *Migrator) observe(ctx context.Context, version int) (observed, error) {
	o, err := m.observeOnce(ctx, version)
	for err == nil {
		var now layoutState
		if now, err = m.observeLayout(ctx); err != nil || now == o.layout {
			break
		}
		o, err = m.observeOnce(ctx, version)
	}
	return o, err
}

func (m *Migrator) observeOnce(ctx context.Context, version int) (o observed, err error) {
	if o.redis, err = oldestRedis(ctx, m.redis); err != nil {
		return o, fmt.Errorf("migrations: asking Redis for its version: %w", err)
	}
	if o.layout, err = m.observeLayout(ctx); err != nil {
		return o, err
	}
	if o.redis.old() || m.cfg.unknown(o.layout) != nil {
		return o, nil
	}
	if o.streams, o.beyond, err = readStreams(ctx, m.redis, m.cfg); err != nil {
		return o, fmt.Errorf("migrations: reading the streams of outbox %s: %w", m.cfg.Outbox, err)
	}
	if version == 0 {
		version = o.layout.version
	}
	if version >= 2 {
		err = m.observeKafka(ctx, &o, parts(m.cfg, version))
	}
	if err == nil && version >= lanesVersion && o.layout.version == lanesVersion-1 {
		if o.relays, err = m.runningRelays(ctx); err != nil {
			err = fmt.Errorf("migrations: looking for relays that run: %w", err)
		}
	}
	return o, err
}

func (m *Migrator) observeLayout(ctx context.Context) (layoutState, error) {
	l, err := readLayout(ctx, m.redis, m.cfg.Outbox)
	if err != nil {
		return l, fmt.Errorf("migrations: reading the layout of outbox %s: %w", m.cfg.Outbox, err)
	}
	return l, nil
}
