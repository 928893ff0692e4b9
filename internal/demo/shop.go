package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// shop is the application: each clerk has some orders and moves them from state to state. A new
// state and its event are one MULTI/EXEC.
type shop struct {
	writer *outbox.Writer
	ledger *ledger
	limit  int // events to write; 0: without end
	rate   int // a second
	seed   uint64

	taken atomic.Int64 // events that a clerk has taken on
	last  atomic.Value // of string: what happened last, for the screen
}

// clerks work at the same time, each on deskSize orders.
const (
	clerks   = 8
	deskSize = 6
)

// stepNames are the events of an order, stateNames the states that they lead to. Step n is at n-1.
var (
	stepNames  = [steps]string{"OrderPlaced", "OrderPaid", "OrderPacked", "OrderShipped"}
	stateNames = [steps]string{"placed", "paid", "packed", "shipped"}
)

// payload of an event.
type payload struct {
	Order    int    `json:"order"`
	Step     uint8  `json:"step"`
	Status   string `json:"status"`
	Customer string `json:"customer"`
	Cents    int    `json:"cents"`
}

func orderKey(order int) string { return fmt.Sprintf("order-%06d", order) }

// run writes until the limit is reached or ctx ends.
func (s *shop) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for clerk := range clerks {
		g.Go(func() error { return s.work(ctx, start, rand.New(rand.NewPCG(s.seed, uint64(clerk)))) })
	}
	return g.Wait()
}

// work is one clerk. Event number n of the shop is due n/rate after the start; who is late catches
// up.
func (s *shop) work(ctx context.Context, start time.Time, rng *rand.Rand) error {
	var desk []event // the last step of each order on it; 0: none yet
	for {
		n := s.taken.Add(1) - 1
		if s.limit > 0 && n >= int64(s.limit) {
			return nil
		}
		due := start.Add(time.Duration(float64(n) / float64(s.rate) * float64(time.Second)))
		if !retry.Until(ctx, due) {
			return nil
		}
		if len(desk) < deskSize {
			desk = append(desk, event{order: s.ledger.order()})
		}
		i := rng.IntN(len(desk))
		desk[i].step++
		if err := s.move(ctx, desk[i], rng); err != nil {
			if ctx.Err() == nil {
				return fmt.Errorf("shop: %w", err)
			}
			// to the end: the shop is closed. The event was not confirmed, and may have been written or not
			continue
		}
		if desk[i].step == steps {
			desk = append(desk[:i], desk[i+1:]...)
		}
	}
}

// move writes a step of an order, and notes it in the ledger.
func (s *shop) move(ctx context.Context, e event, rng *rand.Rand) error {
	s.ledger.begin(e)
	if err := writeStep(ctx, s.writer, e, rng); err != nil {
		return err
	}
	s.ledger.confirm(e)
	s.last.Store(orderKey(e.order) + " " + stepNames[e.step-1])
	return nil
}

// writeStep writes a step of an order: its state and its event.
func writeStep(ctx context.Context, writer *outbox.Writer, e event, rng *rand.Rand) error {
	key := orderKey(e.order)
	body, err := json.Marshal(payload{
		Order: e.order, Step: e.step, Status: stateNames[e.step-1],
		Customer: "customer-" + strconv.Itoa(rng.IntN(1000)), Cents: 100 + rng.IntN(20_000),
	})
	if err != nil {
		return err
	}
	_, err = writer.Tx(ctx, key, func(tx *outbox.Tx) error {
		tx.Queue().HSet(ctx, tx.StateKey(key), "status", stateNames[e.step-1])
		return tx.Append(outbox.Event{
			AggregateType: "order", AggregateID: key, Type: stepNames[e.step-1],
			Payload: body, ContentType: "application/json",
		})
	})
	return err
}

// latest is what happened last.
func (s *shop) latest() string {
	text, _ := s.last.Load().(string)
	return text
}
