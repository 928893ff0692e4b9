package bench

import (
	"context"
	"time"

	"github.com/sluice-outbox/sluice/integration/servers"
)

// Usage is what a driver and the brokers spent while events were written. A nil figure is not
// known, or there is none.
type Usage struct {
	CPU *float64 `json:"own_cpu_percent"` // of one core
	// BrokerCPU is of all brokers together, in percent of one core, with what the measuring consumer
	// asks of them. It is known of brokers that were started for the run as processes of this machine.
	BrokerCPU    *float64 `json:"broker_cpu_percent"`
	Transactions *float64 `json:"transactions_per_second"` // that the relay committed
}

// meter is what has been spent up to a moment.
type meter struct {
	at           time.Time
	own, broker  *time.Duration
	transactions *int64
}

// meter reads what p and the brokers have spent so far. p is nil if the measuring process carries
// by itself.
func (b *run) meter(ctx context.Context, p *process) (meter, error) {
	m := meter{broker: b.backends.brokerCPU()}
	if p != nil {
		spent, err := p.ask(ctx, wordCost, eventCost)
		if err != nil {
			return m, err
		}
		m.own, m.transactions = &spent.CPU, spent.Transactions
	}
	m.at = time.Now()
	return m, nil
}

// since is what was spent between two moments.
func (m meter) since(before meter) Usage {
	took := m.at.Sub(before.at).Seconds()
	if took <= 0 {
		return Usage{}
	}
	percent := func(now, then *time.Duration) *float64 {
		if now == nil || then == nil {
			return nil
		}
		v := 100 * (*now - *then).Seconds() / took
		return &v
	}
	u := Usage{CPU: percent(m.own, before.own), BrokerCPU: percent(m.broker, before.broker)}
	if m.transactions != nil && before.transactions != nil {
		v := float64(*m.transactions-*before.transactions) / took
		u.Transactions = &v
	}
	return u
}

// medianUsage is the medians of each figure.
func medianUsage[T any](runs []T, of func(T) Usage) Usage {
	return Usage{
		CPU:          medianOf(runs, func(r T) *float64 { return of(r).CPU }),
		BrokerCPU:    medianOf(runs, func(r T) *float64 { return of(r).BrokerCPU }),
		Transactions: medianOf(runs, func(r T) *float64 { return of(r).Transactions }),
	}
}

// brokerCPU is what the brokers that run have used so far, nil if it cannot be known: of a
// container the process id is its engine's, which may be on another machine.
func (s *backends) brokerCPU() *time.Duration {
	if s.started == nil || s.started.Origin != servers.OriginLocal {
		return nil
	}
	var all time.Duration
	running := false
	for _, broker := range s.started.Brokers {
		pid := broker.PID()
		if pid == 0 {
			continue // was stopped
		}
		cpu, err := processCPU(pid)
		if err != nil {
			return nil
		}
		all, running = all+cpu, true
	}
	if !running {
		return nil
	}
	return &all
}
