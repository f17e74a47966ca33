package main

func nodesRefusals() []refusal { return nil }
