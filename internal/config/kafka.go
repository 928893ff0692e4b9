package config

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// KafkaOpts gives the options of every Kafka client. It does no I/O except to read the named files;
// an *Error says which setting is wrong.
func KafkaOpts(c *Config) ([]kgo.Opt, error) {
	k := &c.Kafka
	dial, err := c.dialer("kafka.tls", k.TLS, k.TLS.On())
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{kgo.SeedBrokers(k.Brokers...), kgo.ClientID(k.ClientID), kgo.Dialer(dial)}
	compress, err := compression(k.Compression)
	if err != nil {
		return nil, c.Problemf("kafka.compression", "%v", err)
	}
	opts = append(opts, compress)
	mechanism, err := c.mechanism()
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// compression makes one compressor for all clients. With the option ProducerBatchCompression each
// client would make its own, and clients made at the same time from the same options race: franz-go
// rewrites the option's list in place.
func compression(name string) (kgo.Opt, error) {
	codecs := map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(),
		"zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[name]
	if !ok {
		return kgo.ProducerBatchCompression(), nil // no codec at all
	}
	compressor, err := kgo.DefaultCompressor(codec)
	if err != nil {
		return nil, err
	}
	return kgo.WithCompressor(compressor), nil
}

// mechanism gives the SASL mechanism, nil for none. Its function is called for each connection and
// each reauthentication, and reads the file again.
func (c *Config) mechanism() (sasl.Mechanism, error) {
	a := &c.Kafka.SASL
	switch a.Mechanism {
	case "":
		return nil, nil
	case "aws-msk-iam":
		if _, err := awsCredentials(); err != nil {
			return nil, c.Problemf("kafka.sasl.mechanism", "%v", err)
		}
		return aws.ManagedStreamingIAM(func(context.Context) (aws.Auth, error) {
			return awsCredentials()
		}), nil
	case "oauthbearer":
		token, err := c.secret("kafka.sasl.token", "", a.TokenFile)
		if err != nil {
			return nil, err
		}
		return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			t, err := token()
			return oauth.Auth{Token: t}, err
		}), nil
	}
	password, err := c.secret("kafka.sasl.password", a.Password, a.PasswordFile)
	if err != nil {
		return nil, err
	}
	switch a.Mechanism {
	case "plain":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			p, err := password()
			return plain.Auth{User: a.Username, Pass: p}, err
		}), nil
	case "scram-sha-256", "scram-sha-512":
		auth := func(context.Context) (scram.Auth, error) {
			p, err := password()
			return scram.Auth{User: a.Username, Pass: p}, err
		}
		if a.Mechanism == "scram-sha-256" {
			return scram.Sha256(auth), nil
		}
		return scram.Sha512(auth), nil
	}
	return nil, c.Problemf("kafka.sasl.mechanism", "unknown mechanism %q", a.Mechanism)
}
