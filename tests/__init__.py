"""The mirror of the package: a test is a sentence, through the front door where there is one."""
