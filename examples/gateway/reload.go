package main

import (
	"fmt"
	"strings"
)

// reload reads all sources again and puts in force what can change while the gateway runs. When something in them is wrong, or in a file of
// certificates or ticket keys, no setting changes, and the error names every field that is. Any goroutine.
func (a *app) reload() error {
	next, err := a.src.load()
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			a.log.Error("reload refused", "err", line)
		}
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	merged, changed, waiting, err := a.now.merge(next)
	if err == nil && a.store != nil { // before anything changes: what is wrong keeps its old version
		err = a.store.Reload()
	}
	if err == nil {
		err = a.apply(merged)
	}
	if err != nil {
		a.log.Error("reload refused", "err", err)
		return err
	}
	a.now = merged
	for _, s := range changed {
		a.log.Info("setting changed", "setting", s.key, "value", s.value.get(), "in_force", s.live.String())
	}
	for _, s := range waiting {
		a.log.Warn("setting needs a restart", "setting", s.key, "value", s.value.get())
	}
	a.log.Info("reloaded", "changed", len(changed), "need_restart", len(waiting))
	return nil
}

// merge is e with the values of next that can change while the gateway runs. changed are those, waiting the ones that cannot. What is
// wrong about the mixture is an error.
func (e *effective) merge(next *effective) (merged *effective, changed, waiting []option, err error) {
	c := defaults()
	merged = &effective{Config: c, table: settings(c), origin: map[string]string{}}
	for i, s := range merged.table {
		old, fresh := &e.table[i], &next.table[i]
		from, origin := old, e.origin[s.key]
		if s.live != onRestart {
			from, origin = fresh, next.origin[s.key]
		}
		if err := s.value.set(from.value.get()); err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", s.key, err)
		}
		merged.origin[s.key] = origin
		switch {
		case old.value.get() == fresh.value.get():
		case s.live == onRestart:
			waiting = append(waiting, *fresh)
		default:
			changed = append(changed, *fresh)
		}
	}
	return merged, changed, waiting, merged.validate()
}

// apply puts in force what a reload may change. What can fail comes first.
func (a *app) apply(e *effective) error {
	p, err := newPolicy(e.Config)
	if err != nil {
		return err
	}
	if err := a.setFrames(e.Config); err != nil {
		return e.explain(err)
	}
	if err := a.loops.SetMaxConns(e.Reactor.MaxConns); err != nil {
		return e.explain(err)
	}
	a.gw.adopt(p)
	a.level.Set(e.LogLevel)
	return nil
}
