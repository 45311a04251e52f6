"""Do the labels of the demonstrations matter: does a model recognise a task, or learn it from its context?"""
