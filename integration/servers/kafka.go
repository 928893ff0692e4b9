package servers

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KafkaOptions says how to start a Kafka.
type KafkaOptions struct {
	// Name is used in messages and folder names; empty means "kafka".
	Name string
	// Brokers is how many brokers to start; 0 means 1. With three or more the internal topics have
	// three replicas, and two must be in sync.
	Brokers int
	// Controllers is how many of the brokers, from the first, are controllers too; 0 means all of
	// them. One that is none can be lost without the cluster losing its quorum.
	Controllers int
	// Properties are broker properties. They win over the package's own.
	Properties map[string]string
	// Java holds further options for a local broker's virtual machine, such as "-Xmx2g".
	Java []string
	// Proxied puts a [Proxy] before each broker, and the brokers tell clients that came through one to
	// go on through them: [Kafka.ProxiedAddrs]. It is how a process that cannot be given a dialer
	// meets network faults.
	Proxied bool
	// Isolable puts proxies between the brokers, none before clients, so that a broker can be cut off
	// from the others while clients reach it: [Broker.Isolate]. It needs more than one broker.
	Isolable bool
}

// Kafka is a cluster of one or more brokers, each of which is a controller too unless the options
// say otherwise.
type Kafka struct {
	// Version is the product with its version and feature levels, such as
	// "Kafka 4.3.0 (metadata.version 30, transaction.version 2)".
	Version string
	Origin  Origin
	// Brokers are the cluster's brokers, for controls of a single one. Brokers that come from the
	// environment are one entry each, without controls.
	Brokers []*Broker
}

// Broker is one broker of a [Kafka].
type Broker struct {
	Server
	// ID is the node id, from 1.
	ID int
	// Proxy is in front of this broker if the cluster was started with Proxied; else nil.
	Proxy *Proxy

	dir   string
	mesh  *mesh  // nil if the cluster was not started with Isolable
	hosts string // Java's option for the hosts file of the mesh
}

// StartKafka starts a Kafka of the caller's own and waits until every broker serves clients; it
// takes about six seconds on local programs, two of them for formatting. The caller ends it with
// Close.
func StartKafka(ctx context.Context, o KafkaOptions) (*Kafka, error) {
	p, err := kafkaFinders.find(ctx)
	if err != nil {
		return nil, err
	}
	if o.Name == "" {
		o.Name = "kafka"
	}
	o.Brokers = max(o.Brokers, 1)
	k := &Kafka{Origin: p.origin}
	if err := k.start(ctx, p, o); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Kafka) start(ctx context.Context, p place, o KafkaOptions) error {
	nodes, err := k.reserve(o)
	if err != nil {
		return err
	}
	if err := k.connect(o, nodes); err != nil {
		return err
	}
	clusterID := newClusterID()
	for i, b := range k.Brokers {
		config := brokerConfig(nodes, i, b.dir, p.origin == OriginDocker && len(nodes) == 1, o.Properties)
		if err := b.prepare(ctx, p, o, clusterID, config, nodes[i]); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, b := range k.Brokers {
		if err := b.instance.Start(ctx); err != nil {
			return err
		}
	}
	for _, b := range k.Brokers {
		if err := awaitReady(ctx, b.Name, b.instance, b.ready); err != nil {
			return err
		}
	}
	k.Version, err = readKafkaVersion(ctx, k.Addrs(), p.libs)
	return err
}

// newClusterID is what Kafka's own "random-uuid" gives: never with a hyphen in front, which its
// tools would take for an option.
func newClusterID() string {
	for {
		id := uuid.New()
		if text := base64.RawURLEncoding.EncodeToString(id[:]); text[0] != '-' {
			return text
		}
	}
}

// reserve makes the brokers with their folders, ports and proxies.
func (k *Kafka) reserve(o KafkaOptions) ([]node, error) {
	nodes := make([]node, 0, o.Brokers)
	for i := range o.Brokers {
		b := &Broker{ID: i + 1, Server: Server{Name: o.Name, Origin: k.Origin}}
		if o.Brokers > 1 {
			b.Name = fmt.Sprintf("%s-%d", o.Name, b.ID)
		}
		k.Brokers = append(k.Brokers, b)
		n := node{id: b.ID, votes: o.Controllers == 0 || i < o.Controllers}
		var err error
		if b.dir, err = b.ownDir(); err != nil {
			return nil, err
		}
		if n.client, err = b.ownPort(); err != nil {
			return nil, err
		}
		if n.controller, err = b.ownPort(); err != nil {
			return nil, err
		}
		if o.Isolable {
			if n.internal, err = b.ownPort(); err != nil {
				return nil, err
			}
		}
		if o.Proxied {
			if n.proxied, err = b.ownPort(); err != nil {
				return nil, err
			}
			if b.Proxy, err = NewProxy(loopback(n.proxied)); err != nil {
				return nil, err
			}
			n.proxy = b.Proxy.Addr()
			b.cleanup = append(b.cleanup, b.Proxy.Close)
		}
		b.Addr = loopback(n.client)
		b.ready = b.serves
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// connect puts the proxies between the brokers, if there are to be any.
func (k *Kafka) connect(o KafkaOptions, nodes []node) error {
	if !o.Isolable {
		return nil
	}
	m, err := newMesh(k.Brokers, nodes)
	if err != nil {
		return err
	}
	for _, b := range k.Brokers {
		b.mesh = m
		if b.hosts, err = meshHosts(b, nodes); err != nil {
			return err
		}
	}
	return nil
}

// Addrs are the addresses to give to a client.
func (k *Kafka) Addrs() []string {
	addrs := make([]string, 0, len(k.Brokers))
	for _, b := range k.Brokers {
		addrs = append(addrs, b.Addr)
	}
	return addrs
}

// ProxiedAddrs are the addresses of the proxies, none if the cluster was not started with Proxied.
func (k *Kafka) ProxiedAddrs() []string {
	var addrs []string
	for _, b := range k.Brokers {
		if b.Proxy != nil {
			addrs = append(addrs, b.Proxy.Addr())
		}
	}
	return addrs
}

// Client returns a new client of the cluster, which the caller closes.
func (k *Kafka) Client(opts ...kgo.Opt) (*kgo.Client, error) {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(k.Addrs()...)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return c, nil
}

// Kill kills every broker; see [Server.Kill].
func (k *Kafka) Kill() error { return k.each((*Broker).Kill) }

// Stop freezes every broker; see [Server.Stop].
func (k *Kafka) Stop() error { return k.each((*Broker).Stop) }

// Cont continues every stopped broker.
func (k *Kafka) Cont() error { return k.each((*Broker).Cont) }

// Restart kills what still runs, starts all brokers again with their files and ports, and waits
// until they serve clients.
func (k *Kafka) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// All must be started before one can be ready: alone it has no quorum.
	if err := k.each(func(b *Broker) error {
		return b.with(func() error { return errors.Join(b.instance.Kill(), b.instance.Start(ctx)) })
	}); err != nil {
		return err
	}
	return k.each(func(b *Broker) error {
		return b.with(func() error { return awaitReady(ctx, b.Name, b.instance, b.ready) })
	})
}

// Close ends every broker and removes its files.
func (k *Kafka) Close() error { return k.each((*Broker).Close) }

func (k *Kafka) each(fn func(*Broker) error) error {
	var errs []error
	for _, b := range k.Brokers {
		errs = append(errs, fn(b))
	}
	return errors.Join(errs...)
}
