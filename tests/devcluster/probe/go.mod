module gemma-operator.dev/devcluster/probe

go 1.26
