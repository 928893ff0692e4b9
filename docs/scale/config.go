package main

import (
	"errors"
	"flag"
	"fmt"
	"reflect"
	"time"
)

// config is everything that goes in. from says where a value comes from: "measured" on real
// servers, "assumed", "given" with the question, or the default of "Kafka" or of "Sluice". Each is
// a flag.
type config struct {
	Shards   int     `flag:"shards" default:"1000" from:"given" doc:"shards, and partitions of the topic and of the positions topic"`
	Relays   int     `flag:"relays" default:"20" from:"given" doc:"relays, spread over the zones"`
	Brokers  int     `flag:"brokers" default:"30" from:"given" doc:"brokers, spread over the zones"`
	Zones    int     `flag:"zones" default:"3" from:"given" doc:"zones; each partition has a replica in every one"`
	Rate     float64 `flag:"rate" default:"20" from:"given" doc:"events/s a shard, Poisson, keys spread evenly over the topic"`
	Cores    int     `flag:"cores" default:"8" from:"given" doc:"cores a broker"`
	Logs     int     `flag:"txn-partitions" default:"50" from:"Kafka" doc:"partitions of the transaction log"`
	ShardMem float64 `flag:"mem-shard" default:"0.152" from:"measured" doc:"MB a shard: 69 MB at 333 less 28 MB at 64"`
	RelayMem float64 `flag:"mem-relay" default:"47" from:"measured" doc:"MB a relay without shards: 98 MB at 333, less those"`

	Produce   time.Duration `flag:"cpu-produce" default:"120us" from:"assumed" doc:"CPU of a produce request"`
	Partition time.Duration `flag:"cpu-partition" default:"25us" from:"assumed" doc:"CPU of a partition in it"`
	Record    time.Duration `flag:"cpu-record" default:"2us" from:"assumed" doc:"CPU of a record in it"`
	TxnWrite  time.Duration `flag:"cpu-txn-write" default:"250us" from:"assumed" doc:"CPU of a write to the transaction log: join, end, completion"`
	Marker    time.Duration `flag:"cpu-marker" default:"20us" from:"assumed" doc:"CPU of a marker"`
	Request   time.Duration `flag:"cpu-request" default:"50us" from:"assumed" doc:"CPU of a request that writes nothing, of them a refused join"`
	Read      time.Duration `flag:"cpu-read" default:"300us" from:"assumed" doc:"CPU of a read of a shard's partition, twice in a take-over"`
	Fetch     time.Duration `flag:"cpu-fetch" default:"40us" from:"assumed" doc:"CPU of a follower's fetch, at the leader"`
	Follow    time.Duration `flag:"cpu-follow" default:"10us" from:"assumed" doc:"CPU of a partition in a fetch, at the follower"`
	FollowRec time.Duration `flag:"cpu-follow-record" default:"1us" from:"assumed" doc:"CPU of a record in it"`
	InZone    time.Duration `flag:"net-zone" default:"250us" from:"assumed" doc:"one way inside a zone"`
	Between   time.Duration `flag:"net-between" default:"600us" from:"assumed" doc:"one way between zones"`

	Lanes      int           `flag:"lanes" default:"1" from:"Sluice" doc:"lanes a relay; 0: one for each shard, as in layout version 2"`
	Linger     time.Duration `flag:"linger" default:"0s" from:"Sluice" doc:"least time between the beginnings of two transactions of a lane"`
	MaxEntries int           `flag:"max-entries" default:"10000" from:"Sluice" doc:"events a transaction"`
	Join       string        `flag:"join" default:"client" from:"given" doc:"who has partitions join a transaction: client, in one request, or leaders, each by itself"`
	Retry      time.Duration `flag:"retry" default:"20ms" from:"Kafka" doc:"wait after CONCURRENT_TRANSACTIONS"`

	Session       time.Duration `flag:"session" default:"6s" from:"Sluice" doc:"session of a relay in the group"`
	Rounds        int           `flag:"rounds" default:"1" from:"Sluice" doc:"rounds of the group until the shards of lost relays have owners; what no living member owns is given in the first"`
	BrokerSession time.Duration `flag:"broker-session" default:"9s" from:"Kafka" doc:"broker.session.timeout.ms; heartbeats every 2 s"`
	Load          time.Duration `flag:"load" default:"200ms" from:"assumed" doc:"how long a new coordinator reads its log"`
	Metadata      time.Duration `flag:"metadata" default:"250ms" from:"assumed" doc:"most until a client knows of a new leader"`
	Stall         time.Duration `flag:"stall" default:"1s" from:"Sluice" doc:"until a lane gives up a broker that does not answer and does not refuse either"`
	TxnTimeout    time.Duration `flag:"txn-timeout" default:"10s" from:"Sluice" doc:"transaction time-out; brokers look every 10 s"`
	Grace         time.Duration `flag:"grace" default:"250ms" from:"Sluice" doc:"until an older owner is fenced"`
	Reads         int           `flag:"reads" default:"16" from:"Sluice" doc:"partitions that a relay reads at once"`

	Runs int    `flag:"runs" default:"5" from:"given" doc:"runs of each loss, with one seed after the other; the worst of each figure counts"`
	Seed uint64 `flag:"seed" default:"1" from:"given" doc:"of the random numbers: the same seed, the same run"`
}

// register makes a flag of each field, and sets the defaults.
func (c *config) register(f *flag.FlagSet) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name, usage := tag.Get("flag"), tag.Get("from")+": "+tag.Get("doc")
		switch p := v.Field(i).Addr().Interface().(type) {
		case *time.Duration:
			f.DurationVar(p, name, 0, usage)
		case *int:
			f.IntVar(p, name, 0, usage)
		case *uint64:
			f.Uint64Var(p, name, 0, usage)
		case *float64:
			f.Float64Var(p, name, 0, usage)
		case *string:
			f.StringVar(p, name, "", usage)
		}
		f.Lookup(name).DefValue = tag.Get("default")
		if err := f.Set(name, tag.Get("default")); err != nil {
			panic(err) // a default that does not parse
		}
	}
}

// check says what the model cannot do.
func (c *config) check() error {
	switch {
	case c.Join != "client" && c.Join != "leaders":
		return fmt.Errorf("-join=%s: set client or leaders", c.Join)
	case c.Zones < 3 || c.Brokers < c.Zones || c.Brokers%c.Zones != 0 || c.Relays < 2 ||
		c.Shards < c.Relays:
		return errors.New("set at least 3 zones, as many brokers in each, 2 relays, and a shard for each")
	case c.BrokerSession >= c.TxnTimeout:
		return fmt.Errorf(
			"-broker-session=%v: set less than -txn-timeout=%v, take-overs that fail are not in the model",
			c.BrokerSession, c.TxnTimeout)
	case min(c.Cores, c.Logs, c.MaxEntries, c.Reads, c.Rounds, c.Runs) < 1 || c.Lanes < 0 ||
		c.Rate <= 0:
		return errors.New("set numbers above 0; -lanes may be 0")
	}
	return nil
}
