package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/names"
)

// A hanging transaction is one that its coordinator calls ended while it is open in some partition
// (the term is KIP-664's). Brokers 4.3.0 to 4.4.0 at least leave such transactions: a coordinator
// that is to write markers passes over partitions which have no leader at that moment, as if they
// had been deleted (KAFKA-20734). Readers of the partition then wait for ever, a later position
// cannot be read, and the next marker of the same producer would end the transaction, whichever
// way. So the successor of a lane ends its hanging transactions as they should have ended. How
// follows from the protocol:
//
//   - A position was committed if its lane's other id wrote after it: a turn begins after the
//     other's commit. Else any marker of the same transaction says it, wherever it is. Where
//     nothing has a marker nobody has seen any of it: it is committed if it is complete, since
//     entries may be trimmed, and aborted if not, since it cannot have been committed. The position
//     record says itself what its transaction holds, so that no difference of counts is taken for
//     it.
//   - Records at or below the committed position were committed, others were not.
//
// A partition may hold records of several shards in one transaction: they are decided together. A
// decision needs only what is in Kafka, so a process that dies on the way leaves its successor the
// same decision.

// openTransaction is open in a partition.
type openTransaction struct {
	place
	producer    int64
	epoch       int16
	first       int64 // offset
	coordinator int32 // epoch of the coordinator that wrote the last marker
}

// describeTimeout bounds the question to one broker.
const describeTimeout = 5 * time.Second

// openIn asks the leaders of partitions which transactions are open in them. unknown are the
// partitions of which no broker could say it.
func (e *Engine) openIn(ctx context.Context,
	topics ...string,
) (open []openTransaction, unknown map[place]error, err error) {
	found, err := kafkalog.Leaders(ctx, e.cfg.Client, topics...)
	if err != nil {
		return nil, nil, err
	}
	unknown = map[place]error{}
	byLeader := map[int32]Places{}
	for name, t := range found {
		for i, p := range t.Partitions {
			if p.Err != nil {
				unknown[place{name, int32(i)}] = p.Err
				continue
			}
			if byLeader[p.Leader] == nil {
				byLeader[p.Leader] = Places{}
			}
			byLeader[p.Leader][name] = append(byLeader[p.Leader][name], int32(i))
		}
	}
	for leader, asked := range byLeader {
		req := kmsg.NewPtrDescribeProducersRequest()
		for topic, partitions := range asked {
			t := kmsg.NewDescribeProducersRequestTopic()
			t.Topic, t.Partitions = topic, partitions
			req.Topics = append(req.Topics, t)
		}
		bounded, cancel := context.WithTimeout(ctx, describeTimeout)
		resp, err := req.RequestWith(bounded, e.cfg.Client.Broker(int(leader)))
		cancel()
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			for topic, partitions := range asked {
				for _, n := range partitions {
					unknown[place{topic, n}] = fmt.Errorf("broker %d: %w", leader, err)
				}
			}
			continue
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				at := place{t.Topic, p.Partition}
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					unknown[at] = err
					continue
				}
				for _, x := range p.ActiveProducers {
					if x.CurrentTxnStartOffset >= 0 {
						open = append(open, openTransaction{
							at, x.ProducerID, int16(x.ProducerEpoch),
							x.CurrentTxnStartOffset, x.CoordinatorEpoch,
						})
					}
				}
			}
		}
	}
	return open, unknown, nil
}

// unblock ends the transaction that is open at the last stable offset of a shard's partition, if it
// is another lane's. If it is ongoing its lane is fenced at once, instead of after the time-out. If
// its coordinator calls it ended it hangs.
func (e *Engine) unblock(ctx context.Context, k keys, stable, claim int64, own string,
	waited time.Duration, note func(string),
) error {
	records, err := e.uncommitted(ctx, k, stable)
	if err != nil || len(records) == 0 {
		return err
	}
	first := records[0]
	lane := k.author(first)
	if lane == "" {
		return e.stranger(ctx, k, first)
	}
	if lane == own || first.Offset >= claim && waited < laterGrace {
		return nil // a later owner's, which ends by itself or is fenced after a while
	}
	ongoing, ended, err := e.underWay(ctx, lane, first.ProducerID)
	switch {
	case err != nil:
		return err
	case ongoing:
		return e.fencer.fence(ctx, lane, note)
	case ended:
		if err := e.fencer.fence(ctx, lane, note); err != nil {
			return err
		}
		return e.endPosition(ctx, k, lane, note)
	}
	// decided: the markers are on their way, and a lane that has only just released the shard may be
	// well
	return nil
}

// laterGrace is how long to wait for a later claimant's open transaction before fencing it.
const laterGrace = 2 * time.Second

// underWay asks the coordinator about the transactional id that has a producer id: whether its
// transaction is ongoing, or has ended. While its markers are written it is neither.
func (e *Engine) underWay(ctx context.Context, lane string,
	producer int64,
) (ongoing, ended bool, err error) {
	ended = true
	for _, turn := range []byte{'a', 'b'} {
		state, err := e.describe(ctx, names.LaneID(e.cfg.Outbox, lane, turn))
		if err != nil {
			return false, false, err
		}
		e.fencer.learn(e.fencer.lane(lane), state.producer)
		if state.producer == producer {
			return state.state == "Ongoing", state.ended(), nil
		}
		ended = ended && state.ended()
	}
	// The id has been given another producer id since.
	e.fencer.learn(e.fencer.lane(lane), producer)
	return false, ended, nil
}

// stranger waits for an open transaction that is no lane's to end by itself, as long as a
// transaction may last.
func (e *Engine) stranger(ctx context.Context, k keys, first *kgo.Record) error {
	if time.Since(first.Timestamp) < e.cfg.TransactionTimeout {
		return nil
	}
	at := place{k.topic, int32(k.shard)}
	open, _, err := e.openIn(ctx, k.topic)
	if err != nil {
		return err
	}
	for _, x := range open {
		if x.place == at && x.first <= first.Offset {
			return &haltError{fmt.Sprintf(
				"a transaction of producer %d, epoch %d, which is no lane's, is open in %v since offset "+
					"%d, so that the position cannot be read; see kafka-transactions.sh",
				x.producer, x.epoch, at, x.first)}
		}
	}
	return nil
}

// haltError is a Halt of this package.
type haltError struct{ reason string }

func (e *haltError) Error() string { return e.reason }
func (e *haltError) Halt() string  { return e.reason }

// uncommitted reads a shard's partition from an offset on, without markers.
func (e *Engine) uncommitted(ctx context.Context, k keys, from int64) ([]*kgo.Record, error) {
	all, err := e.readAll(ctx, place{k.topic, int32(k.shard)}, from)
	return slices.DeleteFunc(all, func(r *kgo.Record) bool { return r.Attrs.IsControl() }), err
}

// readAll reads a partition from an offset on, markers among the records.
func (e *Engine) readAll(ctx context.Context, at place,
	from int64,
) (records []*kgo.Record, err error) {
	log, err := e.open(ctx, at)
	if err != nil {
		return nil, err
	}
	_, err = log.Scan(ctx, from, func(r *kgo.Record) { records = append(records, r) })
	return records, err
}

func (e *Engine) open(ctx context.Context, at place) (*kafkalog.Log, error) {
	found, err := kafkalog.Leaders(ctx, e.cfg.Client, at.topic)
	if err != nil {
		return nil, err
	}
	return kafkalog.Open(e.cfg.Client, found[at.topic], int(at.partition), kgo.ReadUncommitted())
}

// endPosition ends a lane's hanging transaction in a shard's partition of the positions topic.
func (e *Engine) endPosition(ctx context.Context, k keys, lane string, note func(string)) error {
	at := place{k.topic, int32(k.shard)}
	open, unknown, err := e.openIn(ctx, k.topic)
	if err != nil {
		return err
	}
	if err := unknown[at]; err != nil {
		return fmt.Errorf("kafka: %v: %w", at, err)
	}
	hanging := slices.DeleteFunc(open, func(x openTransaction) bool {
		return x.place != at || !e.fencer.wrote(lane, x.producer)
	})
	slices.SortFunc(hanging, func(a, b openTransaction) int { return int(a.first - b.first) })
	for _, x := range hanging {
		note(fmt.Sprintf("how a transaction of lane %s ended, which Kafka left open in %v, is found out",
			lane, at))
		commit, err := e.outcome(ctx, k, lane, x)
		if err != nil {
			return fmt.Errorf("kafka: a transaction was left open in %v: %w", at, err)
		}
		if err := e.end(ctx, x, commit); err != nil {
			return err
		}
	}
	return nil
}

// endRecords ends hanging transactions in the data partitions that a shard has written to. The
// shard's position is final. older are the lanes that were fenced for it. The lane that wrote the
// position counts too: it may have released the shard before it could notice that a broker had
// passed over a partition.
func (e *Engine) endRecords(ctx context.Context, k keys, g *ledger, older []string, own string,
	note func(string),
) error {
	last, wrote, topics, err := e.wrote(ctx, k, g, older)
	if err != nil {
		return err
	}
	lanes := older
	if last != nil && last.Lane != own && !slices.Contains(lanes, last.Lane) {
		lanes = append(slices.Clone(lanes), last.Lane)
	}
	if e.cfg.Known != nil && len(older) > 0 {
		topics = append(topics, e.cfg.Known()...)
	}
	if len(topics) == 0 || len(lanes) == 0 {
		return nil
	}
	note("the brokers are asked for transactions that were left open")
	open, unknown, err := e.producerStates.ask(ctx, topics)
	if err != nil {
		return err
	}
	if err := allKnown(wrote, unknown); len(older) > 0 && err != nil {
		return err
	}
	for at, err := range unknown {
		if isDenied(err) {
			e.warnDenied.Do(func() {
				e.cfg.Logger.Warn(
					"this process may not look for transactions that brokers have left open (KAFKA-20734): "+
						"allow its principal Read on the topics", "topic", at.topic)
			})
		}
	}
	hanging, err := e.hanging(ctx, lanes, open)
	if err != nil || len(hanging) == 0 {
		return err
	}
	for _, x := range hanging {
		if err := e.endRecord(ctx, k, last, x); err != nil {
			return err
		}
	}
	return nil
}

// canLook makes sure that brokers can answer for the partitions to which fenced lanes have written
// last. It comes before their claims are withdrawn, so that a later attempt finds the claims and
// looks again.
func (e *Engine) canLook(ctx context.Context, k keys, g *ledger, older []string) error {
	_, wrote, topics, err := e.wrote(ctx, k, g, older)
	if err != nil || len(topics) == 0 {
		return err
	}
	_, unknown, err := e.producerStates.ask(ctx, topics)
	if err != nil {
		return err
	}
	return allKnown(wrote, unknown)
}

func allKnown(wrote Places, unknown map[place]error) error {
	for at, err := range unknown {
		if wrote.has(at) && !isDenied(err) {
			return fmt.Errorf(
				"kafka: whether a transaction of an earlier owner was left open in %v is not known: %w", at,
				err)
		}
	}
	return nil
}

// endRecord ends a hanging transaction in a data partition if it is the shard's. Otherwise the next
// owner of the other shard does.
func (e *Engine) endRecord(ctx context.Context, k keys, last *Position, x openTransaction) error {
	log, err := e.open(ctx, x.place)
	if err != nil {
		return err
	}
	r, err := log.At(ctx, x.first)
	if err != nil {
		return err
	}
	if r == nil || r.ProducerID != x.producer {
		return nil // it has ended
	}
	shard, ok := e.cfg.Origin(r)
	switch {
	case !ok:
		return fmt.Errorf(
			"kafka: a transaction was left open in %v: the record at offset %d names no entry", x.place,
			x.first)
	case shard != k.shard:
		return nil
	}
	return e.end(ctx, x, last != nil && e.cfg.Covers(last.Position, r))
}

// hanging are the open transactions of one of the lanes that its coordinator calls ended. It asks
// the partition, the coordinator, and the partition again, so that a transaction whose markers are
// being written is not among them.
func (e *Engine) hanging(ctx context.Context, lanes []string,
	open []openTransaction,
) ([]openTransaction, error) {
	if len(open) == 0 {
		return nil, nil
	}
	ended := map[int64]bool{}
	for _, lane := range lanes {
		for _, turn := range []byte{'a', 'b'} {
			state, err := e.describe(ctx, names.LaneID(e.cfg.Outbox, lane, turn))
			if err != nil {
				return nil, err
			}
			ended[state.producer] = state.ended()
		}
	}
	candidates := slices.DeleteFunc(slices.Clone(open), func(x openTransaction) bool {
		return !ended[x.producer]
	})
	if len(candidates) == 0 {
		return nil, nil
	}
	topics := make([]string, len(candidates))
	for i, x := range candidates {
		topics[i] = x.topic
	}
	again, _, err := e.producerStates.ask(ctx, topics)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(candidates, func(x openTransaction) bool {
		return !slices.ContainsFunc(again, func(y openTransaction) bool {
			return x.place == y.place && x.producer == y.producer && x.first == y.first
		})
	}), nil
}

// wrote returns a shard's last position, the places where lanes have last written for it, by their
// positions, committed or not, and the topics that it writes to.
func (e *Engine) wrote(ctx context.Context, k keys, g *ledger,
	lanes []string,
) (last *Position, wrote Places, topics []string, err error) {
	from := int64(0)
	wrote = Places{}
	if g.last != nil {
		if last, err = ParsePosition(g.last.Value); err != nil {
			return nil, wrote, nil, nil //nolint:nilerr // an earlier layout, whose lanes left nothing
		}
		topics = last.Wrote.merge(last.Before).topics()
		if slices.Contains(lanes, last.Lane) {
			wrote = last.Wrote.merge(last.Before)
		}
		from = g.last.Offset + 1
	}
	later, err := e.uncommitted(ctx, k, from)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, r := range later {
		if !k.isPosition(r) || r.Value == nil {
			continue
		}
		if p, err := ParsePosition(r.Value); err == nil && slices.Contains(lanes, p.Lane) {
			wrote = wrote.merge(p.Wrote)
		}
	}
	return last, wrote, append(topics, wrote.topics()...), nil
}

func isDenied(err error) bool { return errors.Is(err, kerr.TopicAuthorizationFailed) }

// learn notes a producer id of a lane.
func (f *fencer) learn(x *fenced, producer int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x.producers[producer] = struct{}{}
}

// wrote reports whether a producer id is one of a lane's.
func (f *fencer) wrote(lane string, producer int64) bool {
	x := f.lane(lane)
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := x.producers[producer]
	return ok
}

// end writes the marker that is missing.
func (e *Engine) end(ctx context.Context, x openTransaction, commit bool) error {
	verb := "abort"
	if commit {
		verb = "commit"
	}
	answer, err := kadm.NewClient(e.cfg.Client).WriteTxnMarkers(ctx, kadm.TxnMarkers{
		ProducerID: x.producer, ProducerEpoch: x.epoch, Commit: commit,
		CoordinatorEpoch: max(0, x.coordinator),
		Topics:           kadm.TopicsSet{x.topic: {x.partition: {}}},
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
		return &haltError{fmt.Sprintf(
			"Kafka has left a transaction of this shard open in %v, from offset %d on (KAFKA-20734); it "+
				"has to %s, and this relay may not do that: allow its principal Alter on the cluster, for "+
				"as long as this takes",
			x.place, x.first, verb)}
	case err != nil:
		return fmt.Errorf("kafka: %s what was left open in %v: %w", verb, x.place, err)
	}
	e.cfg.Logger.Warn(
		"Kafka had left a transaction of this shard open (KAFKA-20734), it is ended now as it should "+
			"have been", "how", verb,
		"topic", x.topic, "partition", x.partition, "offset", x.first,
		"producer", x.producer, "epoch", x.epoch)
	return nil
}
