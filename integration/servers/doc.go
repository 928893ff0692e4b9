// Package servers finds or starts a real Redis and a real Kafka, for tests and benchmarks, and
// breaks them on purpose.
//
// # Where servers come from
//
// For Redis and for Kafka separately, the first of these that works:
//
//  1. env: addresses in SLUICE_TEST_REDIS (host:port or redis:// URL) and SLUICE_TEST_KAFKA
//     (host:port, comma separated);
//  2. docker: the engine that [UseEngine] gave, images from SLUICE_TEST_REDIS_IMAGE (redis:7.0) and
//     SLUICE_TEST_KAFKA_IMAGE (apache/kafka: and the wanted version);
//  3. local: programs of this machine. Redis or Valkey is SLUICE_TEST_REDIS_BIN, or redis-server or
//     valkey-server on PATH. Kafka is run with Java from the folder of jars SLUICE_TEST_KAFKA_LIBS,
//     or from jars that mvn fetches once into the user's cache.
//
// SLUICE_TEST_SERVERS=env, docker or local allows only that one. SLUICE_TEST_KAFKA_VERSION (4.3.0)
// says which Kafka to start. When nothing works the error lists the commands that would help; a
// test never skips for want of a server.
//
// # What is started
//
// Everything started listens on loopback, on a port outside the kernel's ephemeral range, keeps its
// files in its own temporary folder, and is ended by its own process id or container id. On Linux a
// local server also dies with the process that started it, however that one ends; what such a death
// leaves behind (a folder, a container) is removed by the next run.
//
// [StartRedis], [StartKafka], [StartRedisCluster] and [StartSentinel] give servers that the caller
// may kill, stop, restart and set back.
//
// # What is between them
//
// [Proxy] and [Proxies] are put into the network: pause, cut, reset, half-open, latency, bandwidth.
// [Broker.Isolate] cuts a broker off from the others and from their controllers while clients go on
// reaching it.
package servers
