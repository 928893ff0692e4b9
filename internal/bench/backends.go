package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration/servers"
)

// backends are the Redis and the Kafka of a run, and the measuring process's own clients.
type backends struct {
	redisAddr string
	brokers   []string
	redis     *redis.Client
	kafka     *kgo.Client
	admin     *kadm.Client
	started   *servers.Kafka // for this run; nil: the brokers were given
	env       Environment
	close     []func() error
}

// Environment is what the figures depend on.
type Environment struct {
	Time   time.Time `json:"time"`
	OS     string    `json:"os"`
	Arch   string    `json:"arch"`
	Cores  int       `json:"cores"`
	Go     string    `json:"go"`
	Redis  string    `json:"redis"`
	Kafka  string    `json:"kafka"`
	Own    bool      `json:"own_servers"` // both were started for this run
	Append bool      `json:"append_only_file"`
}

func (o Options) connect(ctx context.Context) (_ *backends, err error) {
	s := &backends{redisAddr: o.Redis, brokers: o.Kafka}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.end())
		}
	}()
	s.env = Environment{
		Time: time.Now().UTC().Truncate(time.Second), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Cores: runtime.NumCPU(), Go: runtime.Version(),
		Own: o.Redis == "" && len(o.Kafka) == 0,
	}
	if o.Redis == "" {
		o.Progress("starting a Redis")
		// A rewrite of the file in the middle of a run would look like a driver that makes it shorter.
		r, err := servers.StartRedis(ctx,
			servers.RedisOptions{Name: "bench-redis", Config: []string{"auto-aof-rewrite-percentage 0"}})
		if err != nil {
			return nil, err
		}
		s.close = append(s.close, r.Close)
		s.redisAddr, s.env.Redis = r.Addr, r.Version
	}
	if len(o.Kafka) == 0 {
		o.Progress("starting a Kafka")
		options := servers.KafkaOptions{Name: "bench-kafka", Brokers: 1}
		if o.spare {
			options.Brokers, options.Controllers = 2, 1
		}
		k, err := servers.StartKafka(ctx, options)
		if err != nil {
			return nil, err
		}
		s.close = append(s.close, k.Close)
		s.started, s.brokers, s.env.Kafka = k, k.Addrs()[:1], k.Version
	}
	return s, s.open(ctx)
}

func (s *backends) open(ctx context.Context) error {
	options, err := redisOptions(s.redisAddr)
	if err != nil {
		return err
	}
	s.redis = redis.NewClient(options)
	s.close = append(s.close, s.redis.Close)
	info, err := s.info(ctx, "server", "persistence")
	if err != nil {
		return err
	}
	if s.env.Redis == "" {
		s.env.Redis = "Redis " + info["redis_version"]
		if v := info["valkey_version"]; v != "" {
			s.env.Redis = "Valkey " + v
		}
	}
	s.env.Append = info["aof_enabled"] == "1"
	if s.kafka, err = kgo.NewClient(kgo.SeedBrokers(s.brokers...),
		kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	s.close = append(s.close, func() error { s.kafka.Close(); return nil })
	s.admin = kadm.NewClient(s.kafka)
	if s.env.Kafka == "" {
		versions, err := s.admin.ApiVersions(ctx)
		if err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		for _, v := range versions {
			if v.Err == nil {
				s.env.Kafka = "Kafka " + v.VersionGuess()
				break
			}
		}
		if s.env.Kafka == "" {
			return fmt.Errorf("kafka: no broker of %s answers", strings.Join(s.brokers, ", "))
		}
	}
	return nil
}

// end closes the clients, then the servers that were started.
func (s *backends) end() error {
	var errs []error
	for i := len(s.close) - 1; i >= 0; i-- {
		errs = append(errs, s.close[i]())
	}
	s.close = nil
	return errors.Join(errs...)
}

// redisOptions takes a URL or a host:port.
func redisOptions(addr string) (*redis.Options, error) {
	options := &redis.Options{Addr: addr}
	if strings.Contains(addr, "://") {
		var err error
		if options, err = redis.ParseURL(addr); err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
	}
	options.PoolSize = max(options.PoolSize, 32)
	return options, nil
}

// info is the fields of sections of INFO.
func (s *backends) info(ctx context.Context, sections ...string) (map[string]string, error) {
	fields := map[string]string{}
	for _, section := range sections {
		text, err := s.redis.Info(ctx, section).Result()
		if err != nil {
			return nil, fmt.Errorf("redis: INFO %s: %w", section, err)
		}
		for line := range strings.Lines(text) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				fields[k] = v
			}
		}
	}
	return fields, nil
}
