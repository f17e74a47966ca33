package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/reactor"
)

// Every field of reactor.Config has exactly its flag: setting the flag sets that field and no other.
func TestKnobsReachTheirFields(t *testing.T) {
	exceptions := map[string]bool{
		"Nagle":  true, // --nodelay, inverted, below
		"Poison": true, // for tests of the library
		"Logger": true, // whom it tells, no setting
	}
	fields := reflect.TypeFor[reactor.Config]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		if exceptions[name] {
			continue
		}
		flag, ok := knobFields()[name]
		if !ok {
			t.Errorf("reactor.Config.%s has no flag", name)
			continue
		}
		var before, k knobs
		before.register(pflag.NewFlagSet("", pflag.ContinueOnError), true)
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		k.register(set, true)
		value := "12345"
		if fields.Field(i).Type == reflect.TypeFor[time.Duration]() {
			value = "12345ns"
		}
		if err := set.Parse([]string{"--" + flag, value}); err != nil {
			t.Errorf("--%s: %v", flag, err)
			continue
		}
		want := before.reactor
		if field := reflect.ValueOf(&want).Elem().Field(i); field.Kind() == reflect.String {
			field.SetString(value)
		} else {
			field.SetInt(12345)
		}
		if k.reactor != want {
			t.Errorf("--%s %s: %+v, want only %s to change", flag, value, k.reactor, name)
		}
	}
}

func TestNoDelayIsInverted(t *testing.T) {
	for arg, nagle := range map[string]bool{"--nodelay=true": false, "--nodelay=false": true} {
		var k knobs
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		k.register(set, false)
		if err := set.Parse([]string{arg}); err != nil {
			t.Fatal(err)
		}
		if err := k.validate(); err != nil || k.reactor.Nagle != nagle {
			t.Errorf("%s: Nagle %v, %v", arg, k.reactor.Nagle, err)
		}
	}
}

// The defaults that --help prints are valid, and a bare server runs with the library's own.
func TestDefaultsAreTheLibrarys(t *testing.T) {
	var k knobs
	k.register(pflag.NewFlagSet("", pflag.ContinueOnError), true)
	c := k.reactor
	if c.ReadBuffer != reactor.DefaultReadBuffer || c.WriteCoalesce != reactor.DefaultWriteCoalesce || c.SendBuffer != reactor.DefaultSocketBuffer ||
		c.RecvBuffer != reactor.DefaultSocketBuffer || c.HandshakeWorkers != 2*c.Loops || c.IdleTimeout != reactor.DefaultIdleTimeout || k.inflight != 64 || !k.noDelay || !k.tickets {
		t.Errorf("%+v", k)
	}
	r, err := reactor.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
