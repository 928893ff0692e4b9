package integration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
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
	left, err := pool.Client.ListContainers(docker.ListContainersOptions{
		All: true, Filters: map[string][]string{"label": {ownerLabel}},
	})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range left {
		if pid, err := strconv.Atoi(c.Labels[ownerLabel]); err == nil && !alive(pid) {
			if err := removeContainer(pool, c.ID); err != nil {
				return nil, err
			}
		}
	}
	return pool, nil
}

func removeContainer(pool *dockertest.Pool, id string) error {
	err := pool.Client.RemoveContainer(docker.RemoveContainerOptions{ID: id, Force: true, RemoveVolumes: true})
	var missing *docker.NoSuchContainer
	if err != nil && !errors.As(err, &missing) {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

// findImage makes sure that the engine has the image, and pulls it if not.
func findImage(ctx context.Context, image string) (place, error) {
	pool, err := engine()
	if err != nil {
		return place{}, err
	}
	if _, err := pool.Client.InspectImage(image); err == nil {
		return place{origin: OriginDocker, image: image}, nil
	}
	repository, tag := splitImage(image)
	err = pool.Client.PullImage(docker.PullImageOptions{Repository: repository, Tag: tag, Context: ctx}, docker.AuthConfiguration{})
	if err != nil {
		return place{}, fmt.Errorf("the engine has no image %s and cannot pull it: %w", image, err)
	}
	return place{origin: OriginDocker, image: image}, nil
}

// engine is looked for once in the life of a process.
var engine = sync.OnceValues(connectEngine)
