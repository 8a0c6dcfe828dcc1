"""Which places on Earth are like this one?"""
