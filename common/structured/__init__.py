"""What a generated text must be: the formats, their bounds, their grammars, and llguidance, which
keeps a text to them"""
