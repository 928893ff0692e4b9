//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/ory/dockertest/v3"
	client "github.com/ory/dockertest/v3/docker"

	"github.com/sluice-outbox/sluice/integration/process"
	"github.com/sluice-outbox/sluice/integration/servers"
)

// ownerLabel names, on every container that this package starts, the process it belongs to.
const ownerLabel = "sluice.integration.pid"

// connectEngine finds the Docker engine and removes containers that killed processes left on it.
func connectEngine() (*dockertest.Pool, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, fmt.Errorf("no Docker engine: %w", err)
	}
	if err := pool.Client.Ping(); err != nil {
		return nil, fmt.Errorf("no Docker engine: %w", err)
	}
	left, err := pool.Client.ListContainers(client.ListContainersOptions{
		All: true, Filters: map[string][]string{"label": {ownerLabel}},
	})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range left {
		if pid, err := strconv.Atoi(c.Labels[ownerLabel]); err == nil && !process.Alive(pid) {
			if err := removeContainer(pool, c.ID); err != nil {
				return nil, err
			}
		}
	}
	return pool, nil
}

func removeContainer(pool *dockertest.Pool, id string) error {
	err := pool.Client.RemoveContainer(
		client.RemoveContainerOptions{ID: id, Force: true, RemoveVolumes: true})
	var missing *client.NoSuchContainer
	if err != nil && !errors.As(err, &missing) {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

// docker is the engine as package servers wants it.
type docker struct{}

func init() { servers.UseEngine(docker{}) }

// Find pulls the image if the engine does not have it.
func (docker) Find(ctx context.Context, image string) error {
	pool, err := dockerEngine()
	if err != nil {
		return err
	}
	if _, err := pool.Client.InspectImage(image); err == nil {
		return nil
	}
	repository, tag := splitImage(image)
	err = pool.Client.PullImage(client.PullImageOptions{
		Repository: repository, Tag: tag,
		Context: ctx,
	}, client.AuthConfiguration{})
	if err != nil {
		return fmt.Errorf("the engine has no image %s and cannot pull it: %w", image, err)
	}
	return nil
}

func (docker) New(spec servers.Spec) servers.Instance { return &container{spec: spec} }

// dockerEngine is looked for once in the life of a process.
var dockerEngine = sync.OnceValues(connectEngine)
