package main

// hostile are the steps of the rows about hostile peers.
func (c *chaosRun) hostile() []step { return nil }
