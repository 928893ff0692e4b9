package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/relay"
)

// job is what the process of a driver is told on the first line of its standard input.
type job struct {
	Driver  Driver   `json:"driver"`
	Redis   string   `json:"redis"`
	Kafka   []string `json:"kafka"`
	Outbox  string   `json:"outbox"`
	Topic   string   `json:"topic"`
	Entries int      `json:"entries"`
	Payload int      `json:"payload"`
	Batch   int      `json:"batch"`
	// Marks are the IDs of every markEvery-th entry of each shard, for RedisBaseline, which reads
	// without looking at what it gets.
	Marks [][]string `json:"marks,omitempty"`
	// Again: an Audit is followed by the next one at once, until it is stopped.
	Again bool `json:"again,omitempty"`
	// Lanes and Linger are the relay's; 0: its defaults.
	Lanes  int           `json:"lanes,omitempty"`
	Linger time.Duration `json:"linger_ns,omitempty"`
	// Ask has the shards whose states a relay tells with the cost.
	Ask []int `json:"ask,omitempty"`
	// Profile is the file for a profile of the driver's CPU time from start to stop; empty: none is
	// taken.
	Profile string `json:"profile,omitempty"`
}

// The words of the measuring process after the job, and the events of the driver's answers.
const (
	wordStart = "start" // begin to carry; CPU time counts from here
	wordCost  = "cost"  // tell the cost so far
	wordStop  = "stop"  // tell the cost, then end

	eventReady  = "ready" // connected
	eventDone   = "done"  // a server alone has been given or has handed out everything
	eventCost   = "cost"
	eventFailed = "failed"
)

// answer is one line of a driver's standard output.
type answer struct {
	Event string `json:"event"`
	Error string `json:"error,omitempty"`
	// CPU is the time of user and system since the start.
	CPU  time.Duration `json:"cpu_ns,omitempty"`
	Peak int64         `json:"peak,omitempty"`
	// Transactions were committed since the start; nil: the driver has none.
	Transactions *int64 `json:"transactions,omitempty"`
	DeadLetters  int64  `json:"dead_letters,omitempty"`
	// Shards are those of job.Ask that the relay owns.
	Shards []relay.ShardStatus `json:"shards,omitempty"`
	// Elapsed and Entries belong to eventDone.
	Elapsed time.Duration `json:"elapsed_ns,omitempty"`
	Entries int           `json:"entries,omitempty"`
}

// driving is a driver that is connected. run carries until ctx ends; done may be called once by it.
type driving func(ctx context.Context, done func(entries int, took time.Duration)) error

// Drive is the process of one driver. It reads its job and the words from in, answers on out, and
// returns when it has been stopped or in has ended. It is started by Run and of no use otherwise.
func Drive(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	tell := func(a answer) {
		mu.Lock()
		defer mu.Unlock()
		// Nobody listens any more: the end of in says so too.
		_ = json.NewEncoder(out).Encode(a)
	}
	err := drive(ctx, cancel, in, tell)
	if err != nil {
		tell(answer{Event: eventFailed, Error: err.Error()})
	}
	return err
}

func drive(ctx context.Context, cancel context.CancelFunc, in io.Reader, tell func(answer)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	if !lines.Scan() {
		return errors.Join(errors.New("no job"), lines.Err())
	}
	var j job
	if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	c, err := j.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	tell(answer{Event: eventReady})
	if !lines.Scan() || lines.Text() != wordStart {
		return lines.Err()
	}
	endProfile, err := j.profile()
	if err != nil {
		return err
	}
	defer endProfile()
	began, err := ownCost()
	if err != nil {
		return err
	}
	go func() {
		defer cancel()
		for lines.Scan() {
			a := c.cost(began)
			if lines.Text() == wordStop {
				endProfile()
				tell(a)
				return
			}
			tell(a)
		}
	}()
	err = c.run(ctx, func(entries int, took time.Duration) {
		tell(answer{Event: eventDone, Entries: entries, Elapsed: took})
	})
	if ctx.Err() == nil && err == nil {
		<-ctx.Done() // done, and waiting to be asked for the cost
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// cost is what a driver has spent and done since it began.
func (c *connected) cost(began cost) answer {
	now, err := ownCost()
	if err != nil {
		return answer{Event: eventFailed, Error: err.Error()}
	}
	a := answer{Event: eventCost, CPU: now.cpu - began.cpu, Peak: now.peak}
	if c.relay != nil {
		c.relay.tell(&a)
	}
	return a
}

// profile begins to take one, if it is wanted.
func (j job) profile() (end func(), err error) {
	if j.Profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(j.Profile)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), f.Close())
	}
	return sync.OnceFunc(func() {
		pprof.StopCPUProfile()
		_ = f.Close() // what could not be written is missing from the profile, and from nothing else
	}), nil
}

// cost of a process up to now.
type cost struct {
	cpu  time.Duration // user and system
	peak int64         // most memory resident at once, bytes
}

// connected is a driver whose clients are open.
type connected struct {
	run   driving
	close func()
	relay *observed // nil: the driver is no relay
}

// connect opens the driver's clients.
func (j job) connect(ctx context.Context) (_ *connected, err error) {
	options, err := redisOptions(j.Redis)
	if err != nil {
		return nil, err
	}
	options.PoolSize = max(options.PoolSize, 2*j.Driver.Shards+8) // as sluice relay has it
	client := redis.NewClient(options)
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("redis: %w", err), client.Close())
	}
	c := &connected{close: func() { _ = client.Close() }} // the process ends with it
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	var producer *kgo.Client
	if k := j.Driver.Kind; k == Loop || k == KafkaBaseline {
		if producer, err = kgo.NewClient(j.producerOpts()...); err != nil {
			return nil, fmt.Errorf("kafka: %w", err)
		}
		c.close = func() { producer.Close(); _ = client.Close() }
		if err = producer.Ping(ctx); err != nil {
			return nil, fmt.Errorf("kafka: %w", err)
		}
	}
	switch j.Driver.Kind {
	case Loop:
		c.run = j.loop(client, producer)
	case RedisBaseline:
		c.run = j.redisBaseline(client)
	case KafkaBaseline:
		c.run = j.kafkaBaseline(producer)
	case KafkaRead:
		c.run = j.kafkaRead
	case Audit, GentleAudit:
		c.run, err = j.audit(client)
	case ExactlyOnce, AtLeastOnce:
		c.relay, err = j.relay(client)
		if err == nil {
			c.run = c.relay.run
		}
	default:
		err = fmt.Errorf("unknown driver %q", j.Driver)
	}
	return c, err
}

// kafkaOpts are what every driver's Kafka clients have in common; compression is franz-go's default
// for all of them.
func (j job) kafkaOpts() []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(j.Kafka...)} }

// producerOpts tune the producers of drivers that are not the relay as the relay tunes its own.
func (j job) producerOpts() []kgo.Opt {
	return append(j.kafkaOpts(),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(5*time.Millisecond), // ended by a flush
		kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.MaxBufferedRecords(1<<16),
	)
}
