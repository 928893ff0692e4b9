package preflight

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/config"
)

// Servers are the clients of both sides. The caller closes them.
type Servers struct {
	Redis   redis.UniversalClient
	Replica redis.UniversalClient // of audit.replica; nil if there is none
	Kafka   *kgo.Client
}

// patience bounds each question to a server.
const patience = 10 * time.Second

// checker holds what one check tells the next.
type checker struct {
	cfg     *config.Config
	redis   redis.UniversalClient
	replica redis.UniversalClient
	kafka   *kgo.Client
	admin   *kadm.Client
	all     []Finding

	shards  int // of the layout; 0: unknown
	brokers int
	routed  map[string]string // topics that are known to take events, with how
}

func (c *checker) area(name string) list { return list{name, &c.all} }

// Run makes every check. It does not fail: what goes wrong is a finding.
func Run(ctx context.Context, cfg *config.Config, s Servers) []Finding {
	c := &checker{
		cfg: cfg, redis: s.Redis, replica: s.Replica, kafka: s.Kafka,
		admin: kadm.NewClient(s.Kafka),
	}
	c.checkConfiguration()
	redisUp := c.checkRedis(ctx)
	kafkaUp := c.checkKafka(ctx)
	if redisUp && kafkaUp {
		c.checkLayout(ctx)
	}
	if redisUp {
		c.checkRedisPermissions(ctx)
	}
	if kafkaUp {
		c.checkKafkaPermissions(ctx)
		c.checkRouteTopics(ctx, redisUp)
	}
	c.checkAudit(ctx, kafkaUp)
	slices.SortStableFunc(c.all, func(a, b Finding) int {
		return slices.Index(areas, a.Area) - slices.Index(areas, b.Area)
	})
	return c.all
}

// areas in the order in which they are shown.
var areas = []string{"configuration", "redis", "kafka", "layout", "topics", "audit"}

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, patience)
}
