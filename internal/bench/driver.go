package bench

import (
	"fmt"

	"github.com/sluice-outbox/sluice/consistency"
)

// Kind is a way to carry entries.
type Kind string

// The kinds. The last three carry nothing from one to the other: they show what each server does
// alone.
const (
	Loop          Kind = "loop"          // hand-written XREADGROUP, produce, XACK
	ExactlyOnce   Kind = "exactly-once"  // the relay
	AtLeastOnce   Kind = "at-least-once" // the relay
	RedisBaseline Kind = "redis"         // XRANGE, replies thrown away
	KafkaBaseline Kind = "kafka"         // the idempotent producer, records from memory
	// KafkaTransaction has only a latency.
	KafkaTransaction Kind = "kafka-transaction"
)

// The kinds of RunAudit. They carry nothing.
const (
	KafkaRead   Kind = "kafka-read"   // a read_committed consumer, records thrown away
	Audit       Kind = "audit"        // one audit as fast as it can
	GentleAudit Kind = "gentle-audit" // with the effort of audits that run continuously
)

func kinds() []Kind {
	return []Kind{Loop, ExactlyOnce, AtLeastOnce, RedisBaseline, KafkaBaseline, KafkaTransaction}
}

// Driver is a kind over a number of shards.
type Driver struct {
	Kind   Kind `json:"kind"`
	Shards int  `json:"shards"`
}

// String is how flags and tables name it: "exactly-once/4".
func (c Driver) String() string { return fmt.Sprintf("%s/%d", c.Kind, c.Shards) }

// title is how tables explain it.
func (c Driver) title() string {
	switch c.Kind {
	case Loop:
		return "hand-written XREADGROUP, produce, XACK"
	case ExactlyOnce, AtLeastOnce:
		return "sluice " + string(c.Kind)
	case RedisBaseline:
		return "Redis alone: XRANGE"
	case KafkaRead:
		return "Kafka alone: read_committed consumer"
	case Audit:
		return "sluice audit"
	case GentleAudit:
		return fmt.Sprintf("sluice audit, effort %g", consistency.GentleEffort)
	case KafkaTransaction:
		return "Kafka alone: transaction of two records"
	default:
		return "Kafka alone: idempotent produce"
	}
}

// throughputDrivers are the wanted drivers in the order in which they take turns. A server alone
// does not know shards: Redis is read as one stream, Kafka is given the records of one.
func (o Options) throughputDrivers() []Driver {
	var all []Driver
	for _, n := range o.Shards {
		for _, k := range []Kind{Loop, ExactlyOnce, AtLeastOnce} {
			all = append(all, Driver{k, n})
		}
	}
	all = append(all, Driver{RedisBaseline, 1}, Driver{KafkaBaseline, 1})
	var wanted []Driver
	for _, c := range all {
		if o.driver(c) {
			wanted = append(wanted, c)
		}
	}
	return wanted
}

// latencyDrivers are the wanted drivers that can have a latency over the shards at the rate. Kafka
// alone does not know shards.
func (o Options) latencyDrivers(shards, rate int) []Driver {
	kinds := []Kind{Loop, ExactlyOnce, AtLeastOnce}
	if shards == 1 && rate <= baselineRate {
		kinds = append(kinds, KafkaBaseline, KafkaTransaction)
	}
	var wanted []Driver
	for _, k := range kinds {
		if c := (Driver{k, shards}); o.driver(c) {
			wanted = append(wanted, c)
		}
	}
	return wanted
}
