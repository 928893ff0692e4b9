package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// A hanging transaction is one that its coordinator calls ended while it stands open in some partition (the term is KIP-664's). Brokers
// 4.3.0 to 4.4.0 at least leave them behind: a coordinator that is to write markers passes over partitions which have no leader at that
// moment, as if they had been deleted (KAFKA-20734). What that does to a shard, when the only broker dies in a commit:
//
//	session 1                          broker
//	sends records and position on a
//	commits                            decides to commit, writes the marker of the records, dies
//	                                   restarts, has no leaders yet, passes over the position's marker, calls the transaction ended
//	session 2
//	initialises a and b                nothing to wait for
//	reads the position                 the one before: the last stable offset stands before the open transaction
//	sends the same records again       twice
//
// And the next marker of the same id, whatever it says, ends what hangs: an abort takes committed records with it, a commit brings back
// aborted ones. So a session looks for hanging transactions of its two ids before it does anything else, and ends them as
// they should have ended. What is right follows from the invariants:
//
//   - Position records first. One that the other id's next one stands behind was committed (invariant 5). Otherwise the records of its
//     transaction decide, where they have a marker. Where nothing has one, nobody has seen any of it: it is committed if it is
//     complete, since its entries may be trimmed, and aborted if it is not, since it cannot have been committed.
//   - Then records: those at or below the position were committed, the others were not (invariant 2).
//
// A decision needs nothing but what is in Kafka, so a relay that dies on the way leaves its successor the same ones.

// producerID is what the coordinator has given to a transactional id. Every transaction of an earlier epoch has ended.
type producerID struct {
	id    int64
	epoch int16
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("topic %s, partition %d", p.topic, p.partition) }

// hanging is where an ended transaction stands open.
type hanging struct {
	place
	turn        int   // whose it is: 0: a, 1: b
	first       int64 // offset
	epoch       int16
	coordinator int32 // epoch of the coordinator that wrote the last marker
}

// endHanging ends every hanging transaction of the shard, or says why it cannot. Both ids are initialised.
func (s *shard) endHanging(ctx context.Context, p *producers) error {
	for range 4 { // those of positions, then those of records, and a look whether all is well
		v, err := s.survey(ctx, p)
		if err != nil {
			return err
		}
		p.offline = v.offline
		if len(v.denied) > 0 {
			s.relay.warnDenied.Do(func() {
				s.log.Warn("this relay may not look for transactions that brokers have left open (KAFKA-20734): allow its principal Read on the topics", "topics", strings.Join(v.denied, " "))
			})
		}
		if len(v.hanging) == 0 {
			return nil
		}
		if len(v.offline) > 0 {
			return fmt.Errorf("kafka: a transaction was left open in %v, and how it ended cannot be found while partitions of %d topics have no leader", v.hanging[0].place, len(v.offline))
		}
		if err := s.endThese(ctx, p, v); err != nil {
			return err
		}
	}
	return errors.New("kafka: transactions that were ended still stand open")
}

func (s *shard) endThese(ctx context.Context, p *producers, v *survey) error {
	decided, err := s.decidePositions(ctx, p, v)
	if err == nil && len(decided) == 0 {
		decided, err = s.decideRecords(ctx, v)
	}
	if err != nil {
		return fmt.Errorf("kafka: a transaction was left open in %v: %w", v.hanging[0].place, err)
	}
	for _, d := range decided {
		if err := s.end(ctx, p, d); err != nil {
			return err
		}
	}
	return nil
}

// decision is how a hanging transaction is to end.
type decision struct {
	hanging
	commit bool
}

// decidePositions decides on the hanging position records, in the order in which they were written.
func (s *shard) decidePositions(ctx context.Context, p *producers, v *survey) ([]decision, error) {
	topic := outbox.PositionsTopic(s.cfg.Outbox)
	open := slices.DeleteFunc(slices.Clone(v.hanging), func(h hanging) bool { return h.topic != topic })
	if len(open) == 0 {
		return nil, nil
	}
	slices.SortFunc(open, func(a, b hanging) int { return int(a.first - b.first) })
	log, err := openLog(ctx, s.relay.client, topic, int32(s.id), kgo.ReadUncommitted())
	if err != nil {
		return nil, err
	}
	var records []*kgo.Record
	err = log.scan(ctx, open[0].first, log.end, func(r *kgo.Record) {
		if !r.Attrs.IsControl() {
			records = append(records, r)
		}
	})
	if err != nil {
		return nil, err
	}
	before, err := lastPosition(ctx, s.relay.client, s.cfg.Outbox, s.id)
	if err != nil && !errors.Is(err, errNoPosition) {
		return nil, err
	}
	decided := make([]decision, 0, len(open))
	for _, h := range open {
		own, other := p.ids[h.turn].id, p.ids[h.turn^1].id
		i := slices.IndexFunc(records, func(r *kgo.Record) bool { return r.ProducerID == own && r.Offset >= h.first })
		if i < 0 {
			return nil, fmt.Errorf("no record at offset %d", h.first)
		}
		var pos Position
		if err := readPosition(records[i], &pos); err != nil {
			return nil, err
		}
		d := decision{h, slices.ContainsFunc(records[i:], func(r *kgo.Record) bool { return r.ProducerID == other })}
		if !d.commit {
			if d.commit, err = s.wasCommitted(ctx, p, v, h, before, pos); err != nil {
				return nil, err
			}
		}
		if d.commit {
			before = pos
		}
		decided = append(decided, d)
	}
	return decided, nil
}

// wasCommitted finds out from the records of a transaction, which moved the position from before to pos, whether it was committed.
func (s *shard) wasCommitted(ctx context.Context, p *producers, v *survey, h hanging, before, pos Position) (bool, error) {
	own := p.ids[h.turn].id
	ours := func(r *kgo.Record) bool {
		id := entryOf(r)
		return r.ProducerID == own && !r.Attrs.IsControl() && before.Entry.Compare(id) < 0 && id.Compare(pos.Entry) <= 0
	}
	for _, t := range v.closed[h.turn] {
		if t.topic == h.topic || t.epoch < h.epoch {
			continue
		}
		log, err := openLog(ctx, s.relay.client, t.topic, t.partition, kgo.ReadUncommitted())
		if err != nil {
			return false, err
		}
		last, err := log.last(ctx, func(r *kgo.Record) bool { return r.ProducerID == own && !r.Attrs.IsControl() })
		if err != nil {
			return false, err
		}
		if last == nil || !ours(last) {
			continue // it wrote here, but not in this transaction
		}
		marked, committed := false, false
		err = log.scan(ctx, last.Offset+1, log.end, func(r *kgo.Record) {
			if r.ProducerID == own && r.Attrs.IsControl() && !marked {
				marked, committed = true, isCommitMarker(r)
			}
		})
		if err != nil || marked {
			return committed, err
		}
	}
	found := map[EntryID]struct{}{}
	for _, x := range v.hanging {
		if x.turn != h.turn || x.topic == h.topic {
			continue
		}
		log, err := openLog(ctx, s.relay.client, x.topic, x.partition, kgo.ReadUncommitted())
		if err != nil {
			return false, err
		}
		err = log.scan(ctx, x.first, log.end, func(r *kgo.Record) {
			if ours(r) {
				found[entryOf(r)] = struct{}{}
			}
		})
		if err != nil {
			return false, err
		}
	}
	return uint64(len(found)) == pos.Count-before.Count, nil
}

// isCommitMarker reads the key of a marker: version and type, 16 bits each; type 0 is an abort, 1 a commit.
func isCommitMarker(r *kgo.Record) bool { return len(r.Key) >= 4 && r.Key[2] == 0 && r.Key[3] == 1 }

// decideRecords decides on hanging records by the position, which is final.
func (s *shard) decideRecords(ctx context.Context, v *survey) ([]decision, error) {
	pos, err := lastPosition(ctx, s.relay.client, s.cfg.Outbox, s.id)
	if err != nil && !errors.Is(err, errNoPosition) {
		return nil, err
	}
	decided := make([]decision, 0, len(v.hanging))
	for _, h := range v.hanging {
		log, err := openLog(ctx, s.relay.client, h.topic, h.partition, kgo.ReadUncommitted())
		if err != nil {
			return nil, err
		}
		var first EntryID
		err = log.scan(ctx, h.first, h.first+1, func(r *kgo.Record) { first = entryOf(r) })
		if err != nil {
			return nil, err
		}
		if first.IsZero() {
			return nil, fmt.Errorf("the record at offset %d names no entry", h.first)
		}
		decided = append(decided, decision{h, first.Compare(pos.Entry) <= 0})
	}
	return decided, nil
}

// end writes the marker that is missing.
func (s *shard) end(ctx context.Context, p *producers, d decision) error {
	verb := "abort"
	if d.commit {
		verb = "commit"
	}
	answer, err := kadm.NewClient(s.relay.client).WriteTxnMarkers(ctx, kadm.TxnMarkers{
		ProducerID: p.ids[d.turn].id, ProducerEpoch: d.epoch, Commit: d.commit, CoordinatorEpoch: max(0, d.coordinator),
		Topics: kadm.TopicsSet{d.topic: {d.partition: {}}},
	})
	for _, id := range answer {
		for _, t := range id.Topics {
			for _, at := range t.Partitions {
				err = errors.Join(err, at.Err)
			}
		}
	}
	var denied *kadm.AuthError
	switch {
	case errors.As(err, &denied), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return &HaltError{Shard: s.id, Reason: fmt.Sprintf(
			"Kafka has left a transaction of this shard open in %v, from offset %d on (KAFKA-20734); it has to %s, and this relay may not do that: allow its principal Alter on the cluster, for as long as this takes",
			d.place, d.first, verb)}
	case err != nil:
		return fmt.Errorf("kafka: %s what was left open in %v: %w", verb, d.place, err)
	}
	s.log.Warn("Kafka had left a transaction of this shard open (KAFKA-20734), it is ended now as it should have been", "how", verb,
		"topic", d.topic, "partition", d.partition, "offset", d.first, "producer", p.ids[d.turn].id, "epoch", d.epoch)
	return nil
}
