package main

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/pool"
)

// ranWith are the knobs that a server has run with, by name: the flags of flags, and what they have come to in s. A value that leaves something
// to the machine or the library is shown as what that is, where it is known.
func ranWith(flags *pflag.FlagSet, s echoServer) []report.Knob {
	var inForce map[string]string
	if o, ok := s.(*ourServer); ok {
		inForce = o.inForce()
	}
	var out []report.Knob
	flags.VisitAll(func(f *pflag.Flag) {
		k := report.Knob{Name: f.Name, Value: f.Value.String(), Unit: unitOf(f), Given: f.Changed}
		if v, ok := inForce[f.Name]; ok {
			k.Value = v
		} else if isZero(f) {
			k.Value = f.DefValue // to the library a zero is its default
		}
		out = append(out, k)
	})
	return out
}

// unitOf is the word in back quotes of a flag's usage; none, or that of a duration, which its value has.
func unitOf(f *pflag.Flag) string {
	if !strings.Contains(f.Usage, "`") {
		return ""
	}
	unit, _ := pflag.UnquoteUsage(f)
	return unit
}

// isZero says whether a number or a duration is zero.
func isZero(f *pflag.Flag) bool {
	switch f.Value.Type() {
	case "int", "int64":
		return f.Value.String() == "0"
	case "duration":
		return f.Value.String() == time.Duration(0).String()
	}
	return false
}

// inForce are the values of flags, by name, as the library has them in force.
func (s *ourServer) inForce() map[string]string {
	c := s.reactor.Config()
	if c.PoolBytes == 0 {
		c.PoolBytes = pool.DefaultCacheBytes
	}
	out := make(map[string]string)
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		field := v.Type().Field(i).Name
		flag, ok := knobFields()[field]
		if _, other := quicFields()[field]; !ok || s.quic != nil && other { // the flag is that of package quic
			continue
		}
		out[flag] = fmt.Sprint(v.Field(i).Interface())
	}
	out["loops"] = fmt.Sprint(s.reactor.Loops())
	if s.tls != nil {
		out["aes-gcm"] = s.tls.AESGCM().String()
	}
	var r report.Server
	if s.Count(&r); r.Control != "" {
		out["congestion"] = r.Control
	}
	return out
}
