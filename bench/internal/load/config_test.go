package load

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// The output of a client has room for all requests that may be in flight, within a bound.
func TestHighWater(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want int
	}{
		{Config{Payload: 100, Depth: 1}, 256 << 10},
		{Config{Payload: MaxPayload, Depth: 3}, 3 << 20},
		{Config{Payload: MaxPayload, Depth: MaxDepth}, 256 << 20},
		{Config{Payload: 64 << 10, RPS: 1}, 16 * (64<<10 + framer.HeaderLen)},
		{Config{Payload: 64 << 10, OneWay: true}, 0},
	} {
		if got := c.cfg.HighWater(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.cfg, got, c.want)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	good := Config{Conns: 1, Payload: 0, Depth: 1, Window: time.Second}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flag, value string
		spoil       func(c *Config)
	}{
		{"conns", "0", func(c *Config) { c.Conns = 0 }},
		{"conns", "1000001", func(c *Config) { c.Conns = MaxConns + 1 }},
		{"payload", "-1", func(c *Config) { c.Payload = -1 }},
		{"payload", "1048539", func(c *Config) { c.Payload = MaxPayload + 1 }},
		{"rps", "-5", func(c *Config) { c.RPS = -5 }},
		{"rps", "10000001", func(c *Config) { c.RPS = 10000001 }},
		{"depth", "0", func(c *Config) { c.Depth = 0 }},
		{"depth", "1025", func(c *Config) { c.Depth = MaxDepth + 1 }},
		{"streams", "-1", func(c *Config) { c.Streams = -1 }},
		{"streams", "65537", func(c *Config) { c.Streams = MaxStreams + 1 }},
		{"streams", "1024 × 1000 connections", func(c *Config) { c.Streams, c.Conns = 1024, 1000 }},
		{"max-inflight", "-1", func(c *Config) { c.MaxInflight = -1 }},
		{"warmup", "-1s", func(c *Config) { c.Warmup = -time.Second }},
		{"duration", "1ms", func(c *Config) { c.Window = time.Millisecond }},
	} {
		bad := good
		c.spoil(&bad)
		err := bad.Validate()
		var fe *FlagError
		if !errors.As(err, &fe) || fe.Flag != c.flag || fe.Value != c.value || !strings.Contains(err.Error(), "allowed: ") {
			t.Errorf("--%s %s: %v", c.flag, c.value, err)
		}
	}
}
